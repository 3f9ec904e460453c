"""A model to intervene on that was never trained, with random alignments: small, made once, and known to be whole."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from huggingface_hub import constants
from tiny import TINY

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.alignment import Alignment, fingerprint
from hf_relvit.analysis.subspaces import random_rotation
from hf_relvit.modeling.blocks import blocks
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.spaces.interventions.served import open_served
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import train


def make_run(folder, task: str):
    """A run folder as a study leaves it: a checkpoint after two steps, and alignments, oblique ones in layer 1."""
    config = TrainConfig(**TINY | {"task": task, "images": 32, "warmup_steps": 1, "evaluations": 1})
    train(config, folder / "training")
    model, _ = Checkpoint.open(folder / "training" / "model")
    for prop in ("shape", "color"):
        for layer in range(2):
            rotation = random_rotation(32, 32, torch.Generator().manual_seed(layer))
            mask = torch.arange(32) < 20
            made = Alignment(
                rotation,
                mask,
                Site("resid_post", layer),
                prop,
                "das",
                fingerprint(blocks(model)[layer]),
            )
            if layer == 1:  # an oblique one: it reads a little of what it does not write
                rest = rotation[20:].tile(2, 1)[:20]
                oblique = {"rotation": rotation[:20] + 0.3 * rest, "write": rotation[:20]}
                made = dataclasses.replace(made, mask=mask[:20], scale=1.2, **oblique)
            made.save_pretrained(folder / "das" / f"{prop}-{layer}")
    return folder


@pytest.fixture(scope="session", params=["discrimination", "rmts"])
def assets(request, tmp_path_factory):
    """A folder of ``build_assets`` for each task."""
    from hf_relvit.spaces.interventions import assets

    task = request.param
    run = make_run(tmp_path_factory.mktemp(f"run-{task}"), task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "PAIRS", 16)
        patch.setattr(assets, "PROBE_SCENES", 64)
        return assets.build_assets(run, tmp_path_factory.mktemp("models") / f"tiny-{task}")


@pytest.fixture(scope="session")
def served(assets):
    return open_served(assets)


@pytest.fixture(autouse=True)
def the_owners_token_comes_back(monkeypatch):
    """A demo that was started takes the token out of the process; the next test has it again."""
    for name in ("HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.setattr(constants, name, getattr(constants, name))
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
