from importlib.metadata import version
from itertools import chain

import numpy as np
import pytest
from tiny import vit_of

from hf_relvit.analysis.attention import (
    KINDS,
    AttentionConfig,
    AttentionStages,
    attention_maps,
    measure_attention,
    stage_scores,
)
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.scenes import sample
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model

QUICK = GEOMETRIES["quick"]


@pytest.fixture(params=["vit", "deit", "dinov2"])
def checkpoint(request):
    backbone = vit_of(request.param, 2, 32, 2, initializer_range=0.5)
    return build_model(TrainConfig(backbone=backbone))


def scenes(task, n=12):
    return sample(task, QUICK, "test", n, combinations=32)


def by_hand(maps, table, prefix, compat):
    """The shares of one scene, token by token, from full eager maps: float ``(layers, heads, 6)``."""
    tokens = [list(p[p >= 0] + prefix) for p in table.patches()[0]]
    own = set(chain(*tokens))
    rest = [t for t in range(prefix, maps.shape[-1]) if t not in own]
    sets = {"cls": [0] if prefix else [], "registers": list(range(1, prefix)), "background": rest}

    def p(source, target):
        return maps[:, :, source][..., target].sum((-1, -2)) / maps[:, :, source].sum((-1, -2))

    first, second = tokens[:2]
    display = list(chain(*tokens[2:]))
    mean = {name: (p(first, t) + p(second, t)) / 2 for name, t in sets.items()}
    if compat == "official":
        pair = np.maximum(p(first, second), p(second, first))
        far = np.maximum(p(first, rest), p(second, rest))
        between = (
            np.maximum(p(first + second, display), p(display, first + second))
            if display
            else 0 * pair
        )
        return np.stack([1 - pair - far, pair, between, far, mean["cls"], mean["registers"]], -1)
    own = (p(first, first) + p(second, second)) / 2
    pair = (p(first, second) + p(second, first)) / 2
    between = p(first + second, display) if display else 0 * pair
    return np.stack([own, pair, between, mean["background"], mean["cls"], mean["registers"]], -1)


@pytest.mark.parametrize("task", ["discrimination", "rmts", "svrt_21"])
@pytest.mark.parametrize("compat", ["corrected", "official"])
def test_shares_equal_those_of_full_maps(checkpoint, task, compat):
    model, processor = checkpoint
    table = scenes(task)
    stages = measure_attention(Checkpoint(model, processor), table, AttentionConfig(compat))
    prefix = model.config.geometry.prefix_tokens
    expected = np.mean(
        [
            by_hand(
                attention_maps(Checkpoint(model, processor), table[[i]]), table[[i]], prefix, compat
            )
            for i in range(len(table))
        ],
        0,
    )
    for column, kind in enumerate(KINDS):
        if kind == "between_pair" and task != "rmts":
            assert not (stages.frame.kind == kind).any()
        else:
            np.testing.assert_allclose(
                stages.grid(kind), expected[..., column], atol=1e-5, err_msg=kind
            )


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_the_six_kinds_are_all_there_is(checkpoint, task):
    stages = measure_attention(checkpoint, scenes(task))
    total = stages.frame.groupby(["layer", "head"])["mean"].sum()
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (stages.frame.ci_low <= stages.frame["mean"]).all()
    assert (stages.frame.n == 12).all()


def test_the_batch_size_changes_nothing(checkpoint):
    one, many = (
        measure_attention(checkpoint, scenes("rmts"), AttentionConfig(batch_size=size)).frame
        for size in (1, 64)
    )
    np.testing.assert_allclose(one["mean"], many["mean"], atol=1e-6)


def test_a_saved_result_comes_back_and_draws(checkpoint, tmp_path):
    stages = measure_attention(checkpoint, scenes("rmts"))
    stages.save(tmp_path)
    again = AttentionStages.load(tmp_path)
    assert again.frame.equals(stages.frame)
    assert again.scores == stages.scores
    assert again.facts["provenance"]["versions"]["torch"] == version("torch")
    for kind in ("png", "svg"):
        again.plot(tmp_path / f"a.{kind}")
        stages.plot(tmp_path / f"b.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_scores_of_a_perfect_pipeline_and_of_none():
    local, between = np.array([0.9, 0, 0, 0.1, 0, 0]), np.array([0.1, 0.8, 0, 0.1, 0, 0])
    shares = np.zeros((10, 4, 2, 6))
    shares[:, :2], shares[:, 2:] = local, between
    scores = stage_scores(shares)
    assert scores["perceptual_score"] == pytest.approx(0.9)
    assert scores["relational_score"] == pytest.approx(0.8)
    assert scores["crossover_layer"] == 2
    assert scores["relational_score_ci_low"] == pytest.approx(scores["relational_score_ci_high"])
    never = stage_scores(np.broadcast_to(local, shares.shape))
    assert never["crossover_layer"] == 4
    assert never["relational_score"] == 0


def test_bad_input_is_one_line(checkpoint):
    with pytest.raises(RelViTError, match="expected one of corrected, official"):
        AttentionConfig("offical")
    with pytest.raises(RelViTError, match="do not fit a model of 64 px"):
        measure_attention(checkpoint, sample("rmts", GEOMETRIES["small"], "test", 4))
