import dataclasses

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hf_relvit.analysis.activations import Site, at_tokens, capture_residuals
from hf_relvit.analysis.alignment_methods import fit_alignment
from hf_relvit.analysis.das_config import DASConfig
from hf_relvit.analysis.das_rotation import LearnedSubspace
from hf_relvit.analysis.das_search import latent_distance
from hf_relvit.analysis.interchange import capture_pair_residuals, counterfactual_states
from hf_relvit.analysis.method_input import Fit
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.analysis.subspaces import BASELINES, LEARNED, METHODS, SIZED
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint, randomly_initialized
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals, sample_isolation_pairs
from hf_relvit.stimuli.rendering import render
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model

from .conftest import SIGN_OBJECTS

QUICK = GEOMETRIES["quick"]
# With the paper's penalty, surplus directions that nothing reads stay in; a stronger one drives them out.
FAST = DASConfig(epochs=24, batch_size=16, lr_rotation=2e-2, lr_mask=5e-2, penalty=0.1)


def pairs(property, n=512, split="train", **kwargs):
    return sample_counterfactuals(
        "discrimination", QUICK, property, split, n, objects=SIGN_OBJECTS, **kwargs
    )


def overall(frame):
    return frame[frame.condition == "all"].iloc[0]


def overlap(alignment, true):
    """Share of the true subspace that the found one holds: both of orthonormal rows, 0 to 1."""
    return float((alignment.basis @ true.T).pow(2).sum() / len(true))


@pytest.mark.parametrize("property", ["color", "shape"])
def test_das_finds_the_subspace_that_the_model_reads(sign_model, property):
    model, processor = sign_model("color", "shape")
    site = Site("resid_post", 0)
    alignment = fit_alignment(Checkpoint(model, processor), pairs(property), 0, FAST)
    true = model.basis.detach()[
        model.COLOR if property == "color" else slice(4, 8)
    ]  # bit 4 of IID shapes never varies
    assert alignment.size == 4
    assert overlap(alignment, true) > 0.95
    test = capture_pair_residuals(
        Checkpoint(model, processor), pairs(property, 200, "test"), [site]
    )
    cause = score_alignment(Checkpoint(model, processor), alignment, test)
    assert list(cause.condition) == ["all", "different", "same"]
    assert (
        (cause.accuracy == 1).all()
        and (cause.base_accuracy == 1).all()
        and (cause.floor == 0).all()
    )
    assert list(cause.n) == [200, 100, 100]
    assert (cause.ci_high == 1).all() and 0.97 < cause.ci_low[0] < 1
    for control in ("wrong_object", "random_tokens"):
        assert (
            overall(
                score_alignment(Checkpoint(model, processor), alignment, test, control)
            ).accuracy
            == 0
        )
    # swapping everything takes the other property along, which breaks half of the pairs, and isolates nothing
    other = sample_isolation_pairs(pairs("shape" if property == "color" else "color", 200, "test"))
    everything = fit_alignment(
        Checkpoint(model, processor), test, 0, dataclasses.replace(FAST, method="full_swap")
    )
    assert score_alignment(Checkpoint(model, processor), everything, test).accuracy.tolist() == [
        0.5,
        0,
        1,
    ]
    for found, expected in ((alignment, 1), (everything, 0)):
        isolate = overall(score_alignment(Checkpoint(model, processor), found, other))
        assert isolate.score == "isolate"
        assert isolate.accuracy == expected
        assert isolate.floor == isolate.base_accuracy == 1


def test_a_property_that_the_model_does_not_judge_cannot_be_swapped(sign_model):
    model, processor = sign_model("color")
    alignment = fit_alignment(Checkpoint(model, processor), pairs("shape"), 0, FAST)
    score = overall(
        score_alignment(Checkpoint(model, processor), alignment, pairs("shape", 200, "test"))
    )
    assert (
        score.base_accuracy == 0.5 and score.floor == 0.5
    )  # such pairs differ in nothing that the model sees
    assert score.accuracy <= 0.55


def test_a_latent_loss_draws_edited_states_to_real_ones(sign_model):
    """Three directions more than the color has: without it they bring along what real scenes do not show."""
    checkpoint = Checkpoint(*sign_model("color", "shape"))
    site = Site("resid_post", 0)
    data = capture_pair_residuals(checkpoint, pairs("color", 256), [site])
    target = counterfactual_states(checkpoint, data.pairs, site)
    color = checkpoint.model.basis.detach()[checkpoint.model.COLOR]
    tokens, source = data.operands(site)
    base = at_tokens(data.base[site], tokens)
    torch.testing.assert_close(target @ color.T, source @ color.T, atol=1e-4, rtol=0)
    shape = checkpoint.model.basis.detach()[checkpoint.model.SHAPE]
    torch.testing.assert_close(target @ shape.T, base @ shape.T, atol=1e-4, rtol=0)
    distances = []
    for weight in (0.0, 10.0):
        config = dataclasses.replace(FAST, method="low_rank", size=7, epochs=6, latent_loss=weight)
        found = fit_alignment(checkpoint, data, 0, config)
        assert overall(score_alignment(checkpoint, found, data)).accuracy > 0.8
        distances.append(latent_distance(found.swap(base, source), target).item())
    assert distances[1] < 0.8 * distances[0]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_latent_loss_out_of_range_is_one_line(weight):
    with pytest.raises(RelViTError, match=f"latent_loss {weight} for method 'das'"):
        DASConfig(latent_loss=weight)


@pytest.mark.parametrize("method", sorted({*METHODS, "closed_form"} - {*LEARNED, "dictionary"}))
def test_a_latent_loss_needs_a_search(method):
    size = 4 if method in SIZED else None
    with pytest.raises(RelViTError, match="expected at least 0, and 0 unless the method is one of"):
        DASConfig(method, size, latent_loss=1.0)


@pytest.mark.long
@pytest.mark.parametrize("method", [each for each in METHODS if each != "dictionary"])
def test_every_method_gives_a_subspace_of_its_size(sign_model, method):
    model, processor = sign_model("color", "shape")
    data = capture_pair_residuals(
        Checkpoint(model, processor), pairs("color"), [Site("resid_post", 0)]
    )
    start = "closed_form" if method == "oblique" else "random"
    size = 4 if method in SIZED else None
    config = dataclasses.replace(FAST, method=method, size=size, start=start)
    alignment = fit_alignment(Checkpoint(model, processor), data, 0, config)
    identity = alignment.basis @ alignment.write_basis.T
    torch.testing.assert_close(identity, torch.eye(alignment.size), atol=1e-4, rtol=0)
    assert len(alignment.facts["history"]) == (config.epochs if method in LEARNED else 0)
    score = overall(score_alignment(Checkpoint(model, processor), alignment, data))
    if method in SIZED:
        assert alignment.size == 4
    if method in ("low_rank", "boundless"):
        assert score.accuracy > 0.98
        assert overlap(alignment, model.basis.detach()[model.COLOR]) > 0.75
    if method == "boundless":
        assert 4 <= alignment.size <= 12
    if method in ("pca", "random_subspace"):
        assert score.accuracy < 0.5
    if method in BASELINES and method != "full_swap":  # what varies most is not what is read
        assert overlap(alignment, model.basis.detach()[model.COLOR]) < 0.95


@pytest.mark.parametrize("method", ["das", "low_rank", "oblique"])
def test_a_search_from_the_closed_form_needs_few_steps(sign_model, method):
    checkpoint = Checkpoint(*sign_model("color", "shape"))
    data = capture_pair_residuals(checkpoint, pairs("color"), [Site("resid_post", 0)])
    test = capture_pair_residuals(checkpoint, pairs("color", 200, "test"), [Site("resid_post", 0)])
    few = DASConfig(method=method, epochs=2, start="closed_form", lr_rotation=3e-3)
    warm = fit_alignment(checkpoint, data, 0, few)
    assert overall(score_alignment(checkpoint, warm, test)).accuracy > 0.95
    assert len(warm.facts["history"]) == 2 and "objects" in warm.facts
    assert (warm.write is not None) == (method == "oblique")
    if method != "oblique":  # which starts nowhere else
        size = warm.size if method == "low_rank" else None
        cold = dataclasses.replace(few, start="random", size=size)
        alignment = fit_alignment(checkpoint, data, 0, cold)
        assert overall(score_alignment(checkpoint, alignment, test)).accuracy < 0.8


def test_a_search_stops_when_held_out_pairs_gain_no_more(sign_model):
    checkpoint = Checkpoint(*sign_model("color"))
    data = capture_pair_residuals(checkpoint, pairs("color", 128), [Site("resid_post", 0)])
    config = DASConfig(epochs=30, start="closed_form", lr_rotation=0.5, lr_mask=0.5, patience=2)
    alignment = fit_alignment(checkpoint, data, 0, config)
    epochs = len(alignment.facts["history"])
    assert 3 <= epochs < 30
    last = fit_alignment(
        checkpoint, data, 0, dataclasses.replace(config, epochs=epochs, patience=None)
    )
    held_out = data.select(slice(115, None))  # a tenth, which the search did not see
    fit = Fit.of(checkpoint, data, Site("resid_post", 0), config)
    best, end = [fit.loss(each, held_out) for each in (alignment, last)]
    assert best <= end
    patient = fit_alignment(checkpoint, data, 0, dataclasses.replace(config, patience=40))
    assert len(patient.facts["history"]) == 30


@pytest.mark.parametrize("method", METHODS)
def test_states_that_are_not_finite_are_one_line(sign_model, method):
    checkpoint = Checkpoint(*sign_model("color"))
    whole = fit_alignment(checkpoint, pairs("color", 32), 0, DASConfig("closed_form"))
    with torch.no_grad():
        checkpoint.model.basis[0, 0] = torch.nan
    settings = {"size": 4} if method in SIZED else {}
    if method == "oblique":
        settings["start"] = "closed_form"
    if method == "dictionary":
        settings["dictionary"] = "some.safetensors"
    config = DASConfig(method, **settings)
    with pytest.raises(RelViTError, match="that are not finite: expected numbers") as caught:
        fit_alignment(checkpoint, pairs("color", 32), 0, config)
    assert "\n" not in str(caught.value)
    foreign = dataclasses.replace(whole, model=None)
    with pytest.raises(RelViTError, match="that are not finite: expected numbers"):
        score_alignment(checkpoint, foreign, pairs("color", 32, "test"))


@pytest.mark.parametrize("patience", [None, 9])
def test_a_search_is_watched_after_every_epoch_and_not_disturbed(sign_model, patience):
    checkpoint = Checkpoint(*sign_model("color"))
    data = capture_pair_residuals(checkpoint, pairs("color", 64), [Site("resid_post", 0)])
    config = dataclasses.replace(FAST, epochs=3, patience=patience)
    seen = []
    watched = fit_alignment(checkpoint, data, 0, config, watch=seen.append)
    assert len(seen) == 3
    first, *_, last = seen
    assert not torch.equal(first.rotation, last.rotation)
    alone = fit_alignment(checkpoint, data, 0, config)
    assert torch.equal(watched.rotation, alone.rotation)
    if patience is None:
        assert torch.equal(last.rotation, alone.rotation) and torch.equal(last.mask, alone.mask)


def test_a_seed_gives_the_same_bits_and_another_one_does_not(sign_model):
    model, processor = sign_model("color")
    data = capture_pair_residuals(
        Checkpoint(model, processor), pairs("color", 64), [Site("resid_post", 0)]
    )
    config = dataclasses.replace(FAST, epochs=2)
    first, again, other = (
        fit_alignment(Checkpoint(model, processor), data, 0, c)
        for c in (config, config, dataclasses.replace(config, seed=1))
    )
    assert first.rotation.equal(again.rotation) and first.mask.equal(again.mask)
    assert first.facts["history"] == again.facts["history"]
    assert not first.rotation.equal(other.rotation)


@pytest.fixture
def tiny_vit():
    model, processor = build_model(TrainConfig(backbone=vit(3, 32, 2) | {"initializer_range": 0.3}))
    return model, processor


def test_where_the_answer_ignores_the_site_the_score_is_the_floor(tiny_vit):
    model, processor = tiny_vit
    last = DASConfig(
        epochs=2
    )  # the head reads CLS alone: object tokens of the last block go nowhere
    table = pairs("color", 64)
    for net in (model, randomly_initialized(model)):
        alignment = fit_alignment(Checkpoint(net, processor), table, 2, last)
        frame = score_alignment(Checkpoint(net, processor), alignment, table)
        assert frame.accuracy.tolist() == frame.floor.tolist()
        np.testing.assert_allclose(frame.accuracy, 1 - frame.base_accuracy)


def test_fitting_leaves_the_model_as_it_was_and_runs_only_what_follows(tiny_vit):
    model, processor = tiny_vit
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    data = capture_pair_residuals(
        Checkpoint(model, processor), pairs("shape", 8), [Site("resid_post", 1)]
    )
    assert (
        not model.training
    )  # an analysis switches to evaluation mode; fitting switches back to what it found
    model.train()
    ran = []
    for i, block in enumerate(model.backbone.layers):
        block.mlp.register_forward_hook(lambda *args, i=i: ran.append(i))
    fit_alignment(Checkpoint(model, processor), data, 1, DASConfig(epochs=3))
    assert ran == [2, 2, 2]
    assert model.training
    assert {name: p.requires_grad for name, p in model.named_parameters()} == trainable
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


class Waits(TorchDispatchMode):
    """Counts operations for which the host would have to wait for an accelerator."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aten = torch.ops.aten
        self.count += func.overloadpacket in (
            aten._local_scalar_dense,
            aten.nonzero,
            aten.masked_select,
        )
        return func(*args, **(kwargs or {}))


def test_the_host_waits_once_an_epoch(tiny_vit):
    model, processor = tiny_vit
    data = capture_pair_residuals(
        Checkpoint(model, processor), pairs("color", 64), [Site("resid_post", 1)]
    )
    counts = []
    for epochs, batch_size in ((1, 64), (3, 64), (3, 8)):
        with Waits() as waits:
            fit_alignment(
                Checkpoint(model, processor),
                data,
                1,
                DASConfig(epochs=epochs, batch_size=batch_size),
            )
        adam = 2 * epochs * 64 // batch_size  # it reads its step counts, which are on the host
        counts.append(waits.count - adam)
    assert counts[1] - counts[0] == 2 * 2  # loss and mask size
    assert counts[2] == counts[1]


@pytest.mark.parametrize("method", ["low_rank", "identity"])
def test_fitting_is_what_the_paper_describes(tiny_vit, method):
    """Against a plain loop with nothing cached: hooks on whole forward passes, token by token, paper.md's formula.

    Not for full rotations: with every mask at 0.5 the rotation's gradient is 0, so that rounding decides Adam's first
    step, here as in any implementation of the paper's protocol.
    """
    model, processor = tiny_vit
    model.requires_grad_(False)
    table, size = pairs("color", 24), 4 if method == "low_rank" else None
    config = DASConfig(method=method, size=size, epochs=3, batch_size=16, lr_rotation=1e-2)
    fast = fit_alignment(Checkpoint(model, processor), table, 0, config)

    generator = torch.Generator().manual_seed(0)
    subspace = LearnedSubspace(method, 32, size, generator)
    base, source = processor(render(table.base)), processor(render(table.source))
    tokens = model.geometry.tokens(table.base.patches()[range(24), table.edited])
    given = model.geometry.tokens(table.source.patches()[range(24), table.source_object])
    label = torch.from_numpy(table.label).long()
    adam = torch.optim.Adam(subspace.groups(1e-2, 1e-2))
    step = 0
    for epoch in range(3):
        order = torch.randperm(24, generator=generator)
        within = [torch.randperm(4, generator=generator) for _ in range(2)]
        for rows, permutation in zip(order.split(16), within):
            for group in adam.param_groups:
                group["lr"] = 1e-2 * (1 - step / 6)  # 0.1 of 6 steps: no warm-up
            states = model(pixel_values=source[rows], output_hidden_states=True).hidden_states[1]
            R, m = subspace.rotation(), subspace.mask((1 / 200) ** (epoch / 2))

            def swap(
                module, args, hidden, rows=rows, states=states, permutation=permutation, R=R, m=m
            ):
                before, hidden = hidden, hidden.clone()
                rest = torch.eye(32) - R.T @ R  # none for a full rotation
                for i, row in enumerate(rows):
                    for t, s in zip(tokens[row], given[row][permutation]):
                        b = before[i, t]
                        hidden[i, t] = R.T @ ((1 - m) * (R @ b) + m * (R @ states[i, s])) + rest @ b
                return hidden

            hook = model.backbone.layers[0].register_forward_hook(swap)
            loss = torch.nn.functional.cross_entropy(
                model(pixel_values=base[rows]).logits, label[rows]
            )
            hook.remove()
            adam.zero_grad()
            (loss + 1e-3 * m.sum()).backward()
            adam.step()
            step += 1
    rotation, mask = subspace.hard()
    torch.testing.assert_close(fast.rotation, rotation, atol=1e-4, rtol=0)
    assert fast.mask.equal(mask)
    assert method == "low_rank" or 0 < fast.size < 32


def test_activations_on_disk_give_the_same_bits(tiny_vit, tmp_path):
    model, processor = tiny_vit
    table, site = pairs("color", 32), Site("resid_post", 0)
    kept = capture_pair_residuals(Checkpoint(model, processor), table, [site])
    spilled = capture_pair_residuals(
        Checkpoint(model, processor), table, [site], cache_gb=0, folder=tmp_path
    )
    assert spilled.base[site].equal(kept.base[site]) and spilled.source[site].equal(
        kept.source[site]
    )
    full = capture_residuals(Checkpoint(model, processor), table.source, [site])[site]
    tokens = torch.from_numpy(model.geometry.tokens(table.source.patches()))
    assert kept.source[site][5, 1].equal(full[5, tokens[5, 1]])
    config = DASConfig(epochs=2)
    fits = [
        fit_alignment(Checkpoint(model, processor), data, 0, config) for data in (kept, spilled)
    ]
    assert fits[0].rotation.equal(fits[1].rotation)


def test_bfloat16_runs_the_suffix_and_changes_little(sign_model):
    model, processor = sign_model("color")
    config = dataclasses.replace(FAST, bf16=True)
    alignment = fit_alignment(Checkpoint(model, processor), pairs("color"), 0, config)
    assert alignment.rotation.dtype == torch.float32
    exact, rough = (
        overall(
            score_alignment(Checkpoint(model, processor), alignment, pairs("color", 64), bf16=bf16)
        )
        for bf16 in (False, True)
    )
    assert exact.accuracy > 0.98
    assert abs(rough.accuracy - exact.accuracy) <= 0.02
    assert rough.base_accuracy == exact.base_accuracy


def test_rmts_pairs_are_scored_too(tiny_vit):
    model, processor = tiny_vit
    table = sample_counterfactuals("rmts", QUICK, "shape", "test", 16)
    alignment = fit_alignment(Checkpoint(model, processor), table, 0, DASConfig(epochs=1))
    frame = score_alignment(Checkpoint(model, processor), alignment, table)
    assert frame.n.tolist() == [16, 8, 8] and np.isfinite(frame.divergence).all()


def test_bad_input_is_one_line(tiny_vit):
    model, processor = tiny_vit
    table = pairs("color", 8)
    for wrong, message in (
        (dict(method="dsa"), "unknown method 'dsa': expected one of das"),
        (dict(control="wrong"), "unknown control 'wrong'"),
        (dict(method="pca"), "need a number of directions"),
        (dict(size=4), "need a number of directions"),
        (dict(epochs=0), "epochs 0"),
        (dict(start="cold"), "unknown start 'cold': expected one of random, closed_form"),
        (dict(method="oblique"), "oblique starts there alone"),
        (dict(method="identity", start="closed_form"), "a closed form starts das, low_rank"),
        (dict(method="full_swap", start="closed_form"), "a closed form starts das, low_rank"),
        (dict(scale=1.3), "scale 1.3 for method 'das'"),
        (dict(method="closed_form", scale=0.0), "expected a number above 0"),
        (dict(patience=0), "patience 0: expected at least 1"),
    ):
        with pytest.raises(RelViTError, match=message):
            DASConfig(**wrong)
    with pytest.raises(RelViTError, match="site 'resid_post', -1"):
        fit_alignment(Checkpoint(model, processor), table, -1)
    with pytest.raises(RelViTError, match="blocks 0 to 2"):
        fit_alignment(Checkpoint(model, processor), table, 3, DASConfig())
    with pytest.raises(RelViTError, match="choose at most 32"):
        fit_alignment(Checkpoint(model, processor), table, 0, DASConfig(method="low_rank", size=33))
    with pytest.raises(RelViTError, match="do not fit a model of 64 px"):
        other = sample_counterfactuals("discrimination", GEOMETRIES["small"], "color", "test", 4)
        fit_alignment(Checkpoint(model, processor), other, 0, DASConfig())
    alignment = fit_alignment(Checkpoint(model, processor), table, 0, DASConfig(method="full_swap"))
    with pytest.raises(RelViTError, match="alignment of color for pairs about shape"):
        score_alignment(Checkpoint(model, processor), alignment, pairs("shape", 8))
    with pytest.raises(RelViTError, match="unknown control 'wrong'"):
        score_alignment(Checkpoint(model, processor), alignment, table, "wrong")
    with pytest.raises(RelViTError, match="an alignment for weights"):
        score_alignment(Checkpoint(randomly_initialized(model), processor), alignment, table)
    captured = capture_pair_residuals(Checkpoint(model, processor), table, [Site("resid_post", 1)])
    with pytest.raises(RelViTError, match=r"captured were resid_post\.1"):
        score_alignment(Checkpoint(model, processor), alignment, captured)
    with pytest.raises(RelViTError, match="no pairs"):
        fit_alignment(Checkpoint(model, processor), table[:0], 0, DASConfig())
    with pytest.raises(RelViTError, match="is nan: lower lr_rotation"), torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
        with torch.enable_grad():
            fit_alignment(Checkpoint(model, processor), table, 0, DASConfig())
