import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.novel import (
    BASELINES,
    METHODS,
    Novel,
    NovelConfig,
    _draw,
    _erase,
    inject_into_pairs,
)
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals
from hf_relvit.stimuli.rendering import render
from hf_relvit.training.run import build_model

from .conftest import SIGN_OBJECTS

QUICK = GEOMETRIES["quick"]
BANK = sample_counterfactuals(
    "discrimination", QUICK, "color", "validation", 200, objects=SIGN_OBJECTS
)
PAIRS = sample_counterfactuals("discrimination", QUICK, "color", "test", 160, objects=SIGN_OBJECTS)


def alignment(model, *parts: slice, layer=0, property="color"):
    """The subspace of known dimensions of the sign model."""
    mask = torch.zeros(len(model.basis), dtype=torch.bool)
    for part in parts:
        mask[part] = True
    return Alignment(model.basis.detach(), mask, Site("resid_post", layer), property)


PRESENCE = slice(9, 10)


def run(sign_model, *parts, config=None, judges=("color", "shape"), layers=(0,)):
    model, processor = sign_model(*judges)
    found = [alignment(model, *parts, layer=layer) for layer in layers]
    result = inject_into_pairs(Checkpoint(model, processor), found, BANK, PAIRS, config)
    return result, result.frame.set_index(["layer", "baseline", "method", "condition"])


def bits(values):
    return 2 * (np.asarray(values)[..., None] >> np.arange(4) & 1) - 1


def test_every_number_is_that_of_the_known_code(sign_model):
    model, *_ = sign_model("color", "shape")
    config = NovelConfig(seed=3)
    result, frame = run(sign_model, model.COLOR, PRESENCE, config=config, layers=(0, 1))
    assert len(result.frame) == 2 * len(BASELINES) * len(METHODS) * 3
    assert (frame.base_accuracy == 1).all() and (frame.floor == 0).all()
    # one vector for both objects is "same", whatever it is; two vectors are as different as their codes
    assert (frame.xs("different", level="condition").accuracy == 1).all()
    rows = np.arange(len(BANK))
    drawn, _ = _draw(BANK.source.color[rows, BANK.source_object], len(PAIRS), config)
    code = bits(BANK.source.color[rows, BANK.source_object])[
        drawn.numpy()
    ]  # (n, 2 vectors, 2 objects, 4)
    for method, (a, b) in {"known": (1, 0), "added": (1, 1), "interpolated": (0.5, 0.5)}.items():
        apart = a * (code[:, 0, 0] - code[:, 1, 0]) + b * (code[:, 0, 1] - code[:, 1, 1])
        varies = ((apart / 2) ** 2).sum(
            -1
        )  # the model says "different" above 0.5; rounding decides at 0.5
        same = PAIRS.judgement == 1
        for baseline in ("subspace", "blank_image"):
            for layer in (0, 1):
                row = frame.loc[layer, baseline, method, "same"]
                assert (varies > 0.51)[same].mean() <= row.accuracy <= (varies > 0.49)[same].mean()
                assert row.n == row.draws == 80
    assert frame.loc[0, "subspace", "known", "all"].accuracy == 1
    assert frame.loc[0, "full_residual", "known", "all"].accuracy == 1
    _, frame = run(sign_model, model.COLOR, config=NovelConfig(baselines=("subspace",)))
    assert 0.7 < frame.loc[0, "subspace", "random", "same"].accuracy < 1


def test_a_subspace_that_nothing_reads_changes_nothing(sign_model):
    _, frame = run(sign_model, slice(10, 24))
    inside = frame.xs("subspace", level="baseline")
    assert (inside.accuracy == 0).all()
    assert (inside.floor == 0).all()
    assert (
        frame.xs("full_residual", level="baseline").xs("known", level="method").accuracy == 1
    ).all()


def test_an_empty_subspace_is_doing_nothing(sign_model):
    _, frame = run(sign_model, config=NovelConfig(baselines=("subspace",)))
    assert (frame.accuracy == frame.floor).all()


@pytest.mark.parametrize("n", [64, 160])
def test_corrected_draws_are_fresh_and_of_different_values(n):
    values = BANK.source.color[np.arange(200), BANK.source_object]
    drawn, draw = _draw(values, n, NovelConfig())
    chosen = np.sort(values[drawn.numpy().reshape(n, 4)], axis=1)
    assert (np.diff(chosen, axis=1) > 0).all()
    assert (draw == np.arange(n)).all()
    counts = np.bincount(values[drawn.numpy().ravel()], minlength=16)
    assert (
        counts.min() > 0.5 * counts.mean()
    )  # values are equally likely, however often the bank shows them
    again, _ = _draw(values, n, NovelConfig(seed=1))
    assert (again != drawn).any()


def test_official_draws_are_shared_by_batches_and_clustered(sign_model):
    model, *_ = sign_model("color", "shape")
    config = NovelConfig(compat="official", baselines=("subspace",))
    drawn, draw = _draw(np.zeros(200, int), 160, config)
    assert np.bincount(draw).tolist() == [64, 64, 32]
    assert (drawn[:64] == drawn[0]).all() and (drawn[64] != drawn[0]).any()
    _, frame = run(sign_model, model.COLOR, config=config)
    assert (frame.draws == 3).all()
    row = frame.loc[0, "subspace", "random", "all"]
    assert row.ci_low <= row.accuracy <= row.ci_high
    same = frame.xs("same", level="condition").accuracy  # whole batches are right or wrong together
    share = np.bincount(draw[PAIRS.judgement == 1]) / 80
    assert all(min(abs(a - sums) for sums in _subset_sums(share)) < 1e-9 for a in same)


def _subset_sums(parts):
    return [sum(p for i, p in enumerate(parts) if code >> i & 1) for code in range(2 ** len(parts))]


def test_erased_objects_leave_no_trace():
    pair = np.stack([PAIRS.edited, PAIRS.fixed], 1)
    assert (_erase(render(PAIRS.base[:5]), PAIRS.base[:5], pair[:5]) == 255).all()
    rmts = sample_counterfactuals("rmts", GEOMETRIES["b14"], "shape", "test", 16)
    images = render(rmts.base)
    erased = _erase(images, rmts.base, np.stack([rmts.edited, rmts.fixed], 1))
    other = _erase(images, rmts.base, np.stack([rmts.source_object, rmts.other_source], 1))
    assert (erased != images).any((1, 2, 3)).all()
    assert (np.minimum(erased, other) == images).all()  # together they are all there was
    assert (
        _erase(erased, rmts.base, np.stack([rmts.source_object, rmts.other_source], 1)) == 255
    ).all()


def test_bf16_changes_no_clear_answer(sign_model):
    model, *_ = sign_model("color", "shape")
    exact, rough = (
        run(sign_model, model.COLOR, PRESENCE, config=NovelConfig(bf16=bf16))[1]
        for bf16 in (False, True)
    )
    clear = ["known", "added"]
    rows = exact.index.get_level_values("method").isin(clear)
    pd.testing.assert_frame_equal(rough[rows], exact[rows])


def test_real_model_save_load_plot_and_batch_size(tiny_rmts, tmp_path):
    model, processor = build_model(tiny_rmts)
    bank, pairs = (
        sample_counterfactuals("rmts", QUICK, "shape", s, 24, combinations=32)
        for s in ("validation", "test")
    )
    rotation = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0))).Q
    found = [
        Alignment(rotation, torch.arange(32) < 8, Site("resid_post", layer), "shape")
        for layer in (0, 1)
    ]
    result, whole = (
        inject_into_pairs(
            Checkpoint(model, processor), found, bank, pairs, NovelConfig(batch_size=size)
        )
        for size in (7, 24)
    )
    assert result.frame.equals(whole.frame)
    assert (
        result.frame[result.frame.layer == 1].accuracy
        == result.frame[result.frame.layer == 1].floor
    ).sum() >= 30
    rough = inject_into_pairs(
        Checkpoint(model, processor), found, bank, pairs, NovelConfig(bf16=True)
    ).frame
    moved = (rough.accuracy - result.frame.accuracy).abs()
    assert moved.mean() <= 0.1  # an untrained model is near a tie in many pairs
    result.save(tmp_path)
    again = Novel.load(tmp_path)
    assert again.frame.equals(result.frame)
    assert again.facts["config"]["compat"] == "corrected"
    again.plot(tmp_path / "novel.svg")
    assert "objects erased" in (tmp_path / "novel.svg").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("added", "new")}, "unknown methods 'new': expected one of known, added"),
        ({"baselines": ()}, r"baselines \(\): expected some of subspace"),
        ({"compat": "old"}, "unknown compat 'old'"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_bad_config(change, message):
    with pytest.raises(RelViTError, match=message):
        NovelConfig(**change)


def test_bad_input(sign_model, tiny):
    model, processor = sign_model("color")
    color = alignment(model, model.COLOR)
    shapes = sample_counterfactuals("discrimination", QUICK, "shape", "test", 8)
    for found, bank, pairs, message in (
        ([], BANK, PAIRS, "0 alignments, 200 pairs to take vectors from, 160 pairs to test on"),
        ([color], BANK, PAIRS[[]], "0 pairs to test on"),
        (
            [color],
            BANK,
            shapes,
            "an alignment of color, vectors of color, pairs about shape: expected one property",
        ),
        (
            [dataclasses.replace(color, property="shape")],
            BANK,
            PAIRS,
            "an alignment of shape, vectors of color",
        ),
        ([color], BANK[:1], PAIRS, "vectors of 1 values: two different pairs need 4"),
        ([alignment(model, layer=2)], BANK, PAIRS, "for a model with blocks 0 to 1"),
    ):
        with pytest.raises(RelViTError, match=message):
            inject_into_pairs(Checkpoint(model, processor), found, bank, pairs)
    large = sample_counterfactuals("discrimination", GEOMETRIES["small"], "color", "test", 8)
    with pytest.raises(RelViTError, match="do not fit a model of 64 px"):
        inject_into_pairs(Checkpoint(model, processor), [color], BANK, large)
