"""Shared fixtures: one tiny model and processor on the quick geometry, made fresh for each test that asks."""

from __future__ import annotations

import dataclasses
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach a network

import pytest
import shapes
from hub_server.fixture import hub  # noqa: F401  (a fixture for all)
from tiny import TINY

from hf_relvit.training.config import TrainConfig

shapes.install()  # before tests take functions out of their modules


@pytest.fixture
def tiny() -> TrainConfig:
    """A run of eight steps of a model that a test can afford."""
    return TrainConfig(**TINY)


@pytest.fixture
def tiny_rmts(tiny) -> TrainConfig:
    return dataclasses.replace(
        tiny,
        task="rmts",
        combinations=32,
        disentanglement={"layer": 1},
        pipeline={"within_object": [0], "within_pair": [1], "between_pair": [1], "heads": [0]},
    )
