"""The backbones of docs/experiments/objectives.md, at a tiny size."""

import dataclasses
import importlib.util
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_relvit.geometry import geometry
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model

EXAMPLE = Path(__file__).parents[1] / "examples" / "pretrain_objectives.py"
spec = importlib.util.spec_from_file_location("pretrain_objectives", EXAMPLE)
assert spec is not None and spec.loader is not None
objectives = importlib.util.module_from_spec(spec)
spec.loader.exec_module(objectives)

NAMES = ["supervised", "masked", "views", "captions", "none"]
MINI = SceneDistribution("discrimination", geometry("mini"), 32)
CONFIG = objectives.backbone_config(48, 8, layers=1, width=32)


def arguments(out: Path, steps: int, **changes):
    usual = objectives.training_arguments(out, seed=0, epochs=1, batch_size=16)
    return dataclasses.replace(usual, max_steps=steps, use_cpu=True, warmup_steps=0, **changes)


def pretrained(name: str, out: Path, steps: int = 2, **changes) -> dict[str, torch.Tensor]:
    pictures = objectives.Pictures(MINI, 64)
    settings = arguments(out, steps, **changes)
    objectives.pretrain(name, out, CONFIG, pictures, MINI, settings)
    return load_file(out / "model.safetensors")


def test_a_picture_shows_one_object_of_a_training_combination():
    pictures = objectives.Pictures(MINI, 64)
    batch = pictures.__getitems__(list(range(64)))
    assert batch["pixel_values"].shape == (64, 3, 48, 48)
    assert batch["pixel_values"].min() >= -1 and batch["pixel_values"].max() == 1
    drawn = (batch["pixel_values"] < 1).any(1)
    assert 0 < drawn.float().mean() <= (16 / 48) ** 2  # one object in a white picture
    seen = set(zip(batch["shape"].tolist(), batch["color"].tolist()))
    held_out = MINI.sample("test_compositional", 64)
    unseen = set(zip(held_out.shape.flatten().tolist(), held_out.color.flatten().tolist()))
    assert not seen & unseen
    one = pictures[5]
    assert torch.equal(one["pixel_values"], batch["pixel_values"][5])


@pytest.mark.parametrize("name", NAMES)
def test_an_objective_makes_a_backbone_that_training_opens(name, tmp_path):
    weights = pretrained(name, tmp_path / name)
    start = pretrained("none", tmp_path / "start")
    assert weights.keys() == start.keys()
    block = next(key for key in weights if "mlp" in key or "intermediate" in key)
    assert torch.equal(weights[block], start[block]) == (name == "none")
    model, _ = build_model(
        TrainConfig(geometry="mini", combinations=32, backbone=str(tmp_path / name))
    )
    same_shape = [w for w in model.state_dict().values() if w.shape == weights[block].shape]
    assert any(torch.equal(own, weights[block]) for own in same_shape)


@pytest.mark.parametrize("name", ["masked", "views"])
def test_an_interrupted_one_goes_on_as_if_nothing_had_happened(name, tmp_path):
    often = {"save_steps": 2, "save_total_limit": 2}
    whole = pretrained(name, tmp_path / name, steps=4, **often)
    shutil.rmtree(tmp_path / name)
    shutil.rmtree(tmp_path / f"{name}.training" / "checkpoint-4")
    resumed = pretrained(name, tmp_path / name, steps=4, **often)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_the_right_caption_is_the_nearest():
    torch.manual_seed(0)
    model = objectives.Captions(CONFIG, 16, 16)
    pictures = objectives.Pictures(MINI, 16)
    batch = pictures.__getitems__(list(range(16)))
    learner = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = model(**batch)["loss"]
        losses.append(loss.item())
        learner.zero_grad()
        loss.backward()
        learner.step()
    said = (batch["shape"] * 16 + batch["color"]).tolist()
    repeated = sum(math.log(said.count(each)) for each in said) / len(said)  # equal captions tie
    assert losses[-1] < losses[0] / 2
    assert losses[-1] >= repeated - 1e-4


def test_the_teacher_follows_slowly():
    torch.manual_seed(0)
    model = objectives.Views(CONFIG)
    with torch.no_grad():
        model.head[0].weight.add_(1)
    before = model.teacher[1][0].weight.clone()
    model.follow()
    moved = model.teacher[1][0].weight - before
    assert torch.allclose(moved, torch.full_like(moved, 1 - objectives.MOMENTUM), atol=1e-5)


def test_crops_stay_inside():
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 48).expand(16, 3, 48, 48)
    crops = objectives.cropped(ramp)
    assert crops.shape == ramp.shape and crops.min() >= -1 and crops.max() <= 1
    widths = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]).abs() / 2
    assert (widths >= objectives.SMALLEST_CROP - 0.05).all() and (widths <= 1).all()
