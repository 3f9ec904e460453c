import numpy as np
import pytest
import torch

from hf_relvit.analysis.activations import Site, at_tokens
from hf_relvit.analysis.interchange import capture_pair_residuals, intervene
from hf_relvit.analysis.naturalness import mahalanobis_divergence
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals, sample_isolation_pairs
from hf_relvit.stimuli.rendering import render

from .conftest import SIGN_OBJECTS

SITE = Site("resid_post", 0)


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
@pytest.mark.parametrize("property, other", [("shape", "color"), ("color", "shape")])
def test_isolation_pairs_differ_in_the_other_property_only(task, property, other):
    pairs = sample_counterfactuals(task, GEOMETRIES["quick"], property, "test", 64)
    isolate, rows = sample_isolation_pairs(pairs), np.arange(64)
    assert isolate.property == other
    assert (isolate.label == isolate.base.label).all()
    given = {p: getattr(isolate.source, p)[rows, isolate.source_object] for p in (property, other)}
    own = {p: getattr(isolate.base, p)[rows, isolate.edited] for p in (property, other)}
    assert (given[other] == own[other]).all() and (given[property] != own[property]).all()
    # swapped whole, the object flips the answer
    fixed = {p: getattr(isolate.base, p)[rows, isolate.fixed] for p in (property, other)}
    same_after = (given["shape"] == fixed["shape"]) & (given["color"] == fixed["color"])
    assert (same_after == (isolate.judgement == 0)).all()
    # what the table says of the source pair is still true
    pair = isolate.source_object // 2
    for p, code in (("shape", 2), ("color", 3)):
        values = getattr(isolate.source, p)
        differs = values[rows, 2 * pair] != values[rows, 2 * pair + 1]
        stated = isolate.source.difference[rows, pair]
        assert (differs == ((stated == 1) | (stated == code))).all()
    assert not np.array_equal(render(isolate.source), render(pairs.source))
    assert np.array_equal(render(isolate.base), render(pairs.base))
    assert (
        pairs.property == property and (pairs.label != pairs.base.label).all()
    )  # the argument is as it was


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_operands_are_the_tokens_they_are_named_for(sign_model, task):
    """In the sign model a token says which object it is of, so a wrong token would show."""
    model, processor = sign_model("color")
    pairs = sample_counterfactuals(
        task, GEOMETRIES["quick"], "color", "test", 32, objects=SIGN_OBJECTS
    )
    data = capture_pair_residuals(Checkpoint(model, processor), pairs, [SITE])
    rows = np.arange(32)

    def signs(states):
        return (states @ model.basis.T)[..., :10].round().int()

    def expected(scenes, which):
        color, shape = (
            getattr(scenes, p)[rows, which].astype(int)[:, None] for p in ("color", "shape")
        )
        bits = np.concatenate(
            [2 * (color >> np.arange(4) & 1) - 1, 2 * (shape >> np.arange(5) & 1) - 1], 1
        )
        return torch.from_numpy(np.concatenate([bits, np.ones_like(color)], 1))[:, None].expand(
            -1, 4, -1
        )

    for control, giver in ((None, pairs.source_object), ("wrong_object", pairs.other_source)):
        tokens, source = data.operands(SITE, control)
        assert (
            signs(at_tokens(data.base[SITE], tokens)) == expected(pairs.base, pairs.edited)
        ).all()
        assert (signs(source) == expected(pairs.source, giver)).all()
        # everything that takes part in the swap is absent from the reference_states: 2 k - 2 objects remain
        k = pairs.base.shape.shape[1]
        idle = signs(data.reference_states(SITE, control)).double().mean(0)
        parts = [expected(pairs.base, np.full(32, j))[pairs.edited != j] for j in range(k)]
        parts += [expected(pairs.source, np.full(32, j))[giver != j] for j in range(k)]
        everyone = torch.cat(parts).flatten(0, 1).double()
        assert len(data.reference_states(SITE, control)) == len(everyone)
        torch.testing.assert_close(idle, everyone.mean(0))
    tokens, source = data.operands(SITE, "random_tokens")
    assert (signs(source)[..., 9] == 0).all() and (
        signs(at_tokens(data.base[SITE], tokens))[..., 9] == 0
    ).all()
    assert all(len(set(row)) == 4 for row in tokens.tolist())
    other = capture_pair_residuals(Checkpoint(model, processor), pairs, [SITE], seed=1)
    assert not other.operands(SITE, "random_tokens")[0].equal(tokens)


def test_an_intervention_leaves_other_tokens_alone():
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(3, 10, 8, generator=generator)
    tokens = torch.tensor([[1, 2], [5, 3], [9, 0]])
    source = torch.randn(3, 2, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        out = intervene(residual, tokens, source, torch.eye(8), torch.ones(8))
    torch.testing.assert_close(
        at_tokens(out, tokens), source, atol=1e-6, rtol=0
    )  # float32 in spite of autocast
    written = torch.zeros(3, 10, dtype=torch.bool).scatter(1, tokens, True)
    assert out[~written].equal(residual[~written])


def test_natural_states_are_not_strange_and_others_are():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=generator) * torch.logspace(-2, 2, 12)

    def natural(n):
        return torch.randn(n, 4, 12, generator=generator) @ mixing + 100

    reference = natural(2000).flatten(0, 1)
    states = natural(500)
    distance = mahalanobis_divergence(states, reference)
    assert distance.shape == (500,)
    assert distance.mean() == pytest.approx(
        12, rel=0.05
    )  # a squared Mahalanobis distance has the dimension as mean
    # each coordinate is as common as before, only no longer with the others
    shuffled = torch.stack(
        [column[torch.randperm(500, generator=generator)] for column in states.unbind(-1)], -1
    )
    assert mahalanobis_divergence(shuffled, reference).mean() > 5 * distance.mean()
    constant = torch.cat([reference, torch.ones(len(reference), 1)], 1)
    assert np.isfinite(mahalanobis_divergence(constant[:40, None], constant)).all()


def test_bad_input_is_one_line(sign_model):
    model, processor = sign_model("color")
    pairs = sample_counterfactuals("discrimination", GEOMETRIES["small"], "color", "test", 4)
    with pytest.raises(RelViTError, match="do not fit a model of 64 px"):
        capture_pair_residuals(Checkpoint(model, processor), pairs, [SITE])
