"""What no machine holds is refused in one line before it is drawn; what is drawn block by block is not."""

import pytest

from hf_relvit import (
    AlignConfig,
    AttentionConfig,
    DiagnosisConfig,
    NovelConfig,
    ProbeConfig,
    SteeringConfig,
    limits,
)
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.draws import BLOCK
from hf_relvit.stimuli.scenes import SCENE_BYTES, sample_block

DISTRIBUTION = SceneDistribution("discrimination", GEOMETRIES["quick"], 128)
SIZES = [10**9 - 10**9 % 8, 10**12]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", ["scenes", "pairs"])
def test_more_than_the_memory_holds_is_one_line(kind, n, monkeypatch):
    monkeypatch.setattr(limits, "memory_bytes", lambda: 32 * 10**9)
    with pytest.raises(RelViTError, match=r"did you mean that many|choose at most \d+") as caught:
        if kind == "scenes":
            DISTRIBUTION.sample("train", n)
        else:
            DISTRIBUTION.pairs("color", "train", n)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (AlignConfig, "pairs"),
        (AlignConfig, "test_pairs"),
        (AlignConfig, "scenes"),
        (DiagnosisConfig, "test_pairs"),
        (ProbeConfig, "train_scenes"),
        (SteeringConfig, "scenes"),
        (NovelConfig, "pairs"),
        (AttentionConfig, "scenes"),
    ],
)
def test_settings_of_analyses_are_refused_before_any_work(config, name, monkeypatch):
    monkeypatch.setattr(limits, "memory_bytes", lambda: 32 * 10**9)
    with pytest.raises(RelViTError, match=rf"{name} 1000000000 needs about .* choose at most"):
        config(**{name: 10**9})


def test_a_block_of_as_many_is_drawn(monkeypatch):
    monkeypatch.setattr(limits, "memory_bytes", lambda: 10**6)
    scenes = sample_block(
        "discrimination", GEOMETRIES["quick"], "train", 10**9, 7, combinations=128
    )
    assert len(scenes) == BLOCK


def test_the_estimate_is_one_from_below():
    scenes = DISTRIBUTION.sample("train", 400)
    columns = vars(scenes).values()
    held = sum(column.nbytes for column in columns if hasattr(column, "nbytes"))
    assert 2 * held / 400 >= SCENE_BYTES
