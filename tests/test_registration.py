import subprocess
import sys

import pytest

CHECK = """
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers import AutoModelForImageClassification
assert "relvit" in CONFIG_MAPPING
"""


@pytest.mark.parametrize(
    "first",
    [
        "import hf_relvit; from transformers import AutoModelForImageClassification",
        "from transformers import AutoModel; import hf_relvit",
        "import hf_relvit; from transformers import pipeline",
    ],
)
def test_the_auto_classes_know_our_models_after_the_import_in_any_order(first):
    subprocess.run([sys.executable, "-c", first + CHECK], check=True)
