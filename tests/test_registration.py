import subprocess
import sys

import pytest

CHECK = """
import sys
mapping = sys.modules["transformers.models.auto.configuration_auto"].CONFIG_MAPPING
assert "relvit" in mapping
from transformers import AutoModel, AutoModelForImageClassification
assert mapping["relvit"] in AutoModel._model_mapping
assert mapping["relvit"] in AutoModelForImageClassification._model_mapping
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "first",
    [
        "import hf_relvit; from transformers import AutoModelForImageClassification",
        "from transformers import AutoModel; import hf_relvit",
        "import hf_relvit; from transformers import pipeline",
        "from transformers import AutoConfig; import hf_relvit; from transformers import AutoModel",
        "import hf_relvit.modeling",
    ],
)
def test_the_auto_classes_know_our_models_after_the_import_in_any_order(first):
    subprocess.run([sys.executable, "-c", first + CHECK], check=True)


def test_the_import_alone_loads_neither_torch_nor_transformers():
    check = "import hf_relvit, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
