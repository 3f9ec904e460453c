"""A saved folder opens in a process that does not have this package."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification

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
