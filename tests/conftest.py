"""Shared fixtures: one tiny model and processor on the quick geometry, made fresh for each test that asks."""

from __future__ import annotations

import dataclasses
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach a network

import pytest
from hub_server.fixture import hub  # noqa: F401  (a fixture for all)

from hf_relvit.training.config import TrainConfig, vit


@pytest.fixture
def tiny() -> TrainConfig:
    """A run of eight steps of a model that a test can afford."""
    return TrainConfig(
        backbone=vit(2, 32, 2), images=128, batch_size=16, n_eval=32, warmup_steps=2, evaluations=4, bf16=False
    )


@pytest.fixture
def tiny_rmts(tiny) -> TrainConfig:
    return dataclasses.replace(
        tiny,
        task="rmts",
        combinations=32,
        disentanglement={"layer": 1},
        pipeline={"within_object": [0], "within_pair": [1], "between_pair": [1], "heads": [0]},
    )
