"""A saved folder opens in a process that does not have this package."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.configuration_relvit import CODE, as_remote_code
from hf_relvit.modeling.processing import default_processor

WITHOUT_THE_PACKAGE = """
import sys
sys.modules["hf_relvit"] = None  # importing it fails, as where it is not installed
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForImageClassification
folder, again, data = sys.argv[1:]
images = load_file(data)["images"]
model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model)
base = AutoModel.from_pretrained(folder, trust_remote_code=True)
assert type(base).__name__ == "RelViTModel"
assert model.geometry.prefix_tokens == 1
model.save_pretrained(again)
second = AutoModelForImageClassification.from_pretrained(again, trust_remote_code=True)
patches = torch.tensor([[[0, 1, 4, 5], [10, 11, 14, 15]]]).expand(len(images), 2, 4)
shape = torch.zeros(len(images), 2, dtype=torch.int64)
out = second(images, labels=shape[:, 0], patches=patches, shape=shape, color=shape)
with torch.no_grad():
    features = base(images).pooler_output.contiguous()
    results = {"first": model(images).logits, "second": out.logits, "features": features, "loss": out.loss}
    save_file(results, data + ".out")
"""


@pytest.mark.long
@pytest.mark.parametrize("family", ["vit", "vit_mae"])
def test_opens_trains_and_saves_without_the_package(tmp_path, family, backbone, batch):
    config = RelViTConfig(
        backbone_config=backbone(family),
        disentanglement={"layer": 1},
        pipeline={"within_object": [0]},
    )
    model = RelViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "model")
    images = batch()["pixel_values"]
    save_file({"images": images}, tmp_path / "data")
    environment = os.environ | {
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "HF_HUB_OFFLINE": "1",
    }
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE, "model", "again", "data"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    out = load_file(tmp_path / "data.out")
    with torch.no_grad():
        expected = model(images).logits
        shape = torch.zeros(3, 2, dtype=torch.int64)
        patches = torch.tensor([[[0, 1, 4, 5], [10, 11, 14, 15]]]).expand(3, 2, 4)
        loss = model(images, labels=shape[:, 0], patches=patches, shape=shape, color=shape).loss
    torch.testing.assert_close(out["first"], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(out["second"], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.classifier(out["features"]), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(out["loss"], loss)


@pytest.mark.parametrize("name", [*CODE, "errors", "geometry"])
def test_saving_never_overwrites_code_of_somebody_else(tmp_path, name, backbone):
    theirs = tmp_path / f"{name}.py"
    theirs.write_text("mine = 1")
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit")))
    with pytest.raises(RelViTError, match=rf"{name}\.py is not ours.*choose a new folder"):
        model.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [theirs.name]
    assert theirs.read_text() == "mine = 1"


def test_a_folder_of_ours_is_saved_into_again_even_with_code_of_an_older_version(
    tmp_path, backbone
):
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit")))
    model.save_pretrained(tmp_path)
    (tmp_path / "losses.py").write_text("old = 1")
    model.save_pretrained(tmp_path)
    assert "pipeline_loss" in (tmp_path / "losses.py").read_text()


def test_only_imports_from_above_are_rewritten():
    code = "from ..errors import A\nfrom .plain import B\nimport os\n# from ..errors import C\n"
    assert as_remote_code(code) == code.replace("from ..errors import A", "from .errors import A")
    assert as_remote_code(as_remote_code(code)) == as_remote_code(code)


BESIDE_THE_PACKAGE = """
import json, sys
import torch
from transformers import AutoModelForImageClassification
from transformers.dynamic_module_utils import get_class_from_dynamic_module
folder, order = sys.argv[1:]
name = "modeling_relvit.RelViTForImageClassification"

def open_remote():
    if "hf_relvit" not in sys.modules:
        return AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
    # The Auto classes prefer the package, where it is there.
    return get_class_from_dynamic_module(name, folder).from_pretrained(folder)

def open_ours():
    from hf_relvit.modeling.checkpoints import Checkpoint
    return Checkpoint.open(folder)

if order == "remote first":
    remote = open_remote()
    checkpoint = open_ours()
else:
    checkpoint = open_ours()
    remote = open_remote()
assert type(remote).__module__.startswith("transformers_modules."), type(remote)
assert type(checkpoint.model).__module__.startswith("hf_relvit."), type(checkpoint.model)
remote_record = sys.modules[type(remote).__module__].record_object_attention
from hf_relvit.modeling import record_object_attention
patches = torch.tensor([[[0, 1, 4, 5], [10, 11, 14, 15]]]).expand(3, 2, 4)
images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
labels = torch.tensor([0, 1, 0])
results = {}
for model_of, model in {"ours": checkpoint.model, "remote": remote}.items():
    for by, record in {"ours": record_object_attention, "remote": remote_record}.items():
        with torch.no_grad(), record(patches + 1, 1) as recorded:
            model(images)
        results[f"{model_of} by {by}"] = [mass.sum().item() for mass in recorded.mass]
    out = model(images, labels=labels, patches=patches)
    results[f"loss of {model_of}"] = [out.pipeline_loss.item()]
print(json.dumps(results))
"""


@pytest.mark.long
@pytest.mark.parametrize("order", ["remote first", "package first"])
def test_remote_code_and_package_record_attention_in_one_process(tmp_path, backbone, order):
    folder = tmp_path / "model"
    config = RelViTConfig(backbone_config=backbone("vit"), pipeline={"within_object": [0]})
    model = RelViTForImageClassification(config)
    Checkpoint(model, default_processor(32)).save(folder)
    environment = os.environ | {
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", BESIDE_THE_PACKAGE, str(folder), order]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(done.stdout)
    masses = [value for name, value in results.items() if " by " in name]
    assert len(masses) == 4 and all(value == masses[0] for value in masses)
    assert results["loss of ours"] == results["loss of remote"]
