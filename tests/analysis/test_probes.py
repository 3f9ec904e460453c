import dataclasses

import numpy as np
import pytest
import torch

from hf_relvit.analysis.activations import Site, capture, capture_object_states
from hf_relvit.analysis.classifiers import fit, scores, shuffle
from hf_relvit.analysis.probe_units import unit_inputs, units
from hf_relvit.analysis.probes import ProbeConfig, Probes, fit_probes
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample
from hf_relvit.training.run import build_model

from .conftest import SIGN_OBJECTS

QUICK = GEOMETRIES["quick"]
TRAIN, TEST = (
    sample("discrimination", QUICK, split, n, objects=SIGN_OBJECTS)
    for split, n in (("train", 1200), ("test", 300))
)


@pytest.fixture
def states(sign_model, read={}):  # noqa: B006  read once
    if not read:
        model, processor = sign_model("color", "shape")
        read["all"] = [
            capture_object_states(Checkpoint(model, processor), scenes, [0])
            for scenes in (TRAIN, TEST)
        ]
        read["checkpoint"] = Checkpoint(model, processor)
    return read["checkpoint"], *read["all"]


def accuracy(probes, condition="trained"):
    return probes.frame[probes.frame.condition == condition].iloc[0]


@pytest.mark.parametrize("target", ["shape", "color"])
@pytest.mark.parametrize("unit", ["object", "token"])
def test_what_is_there_is_read_and_the_control_is_at_chance(states, target, unit):
    probes = fit_probes(*states, ProbeConfig(target=target, unit=unit))
    row = accuracy(probes)
    assert row.accuracy == 1
    assert row.n == 300 * 2 * (1 if unit == "object" else 4)
    assert row.ci_low < 1 == row.ci_high
    assert row.floor < 0.12
    assert accuracy(probes, "shuffled").accuracy < 0.15
    assert probes.facts["tokens"] == (4 if unit == "object" else 1)


def test_the_judgement_of_signs_is_quadratic_and_not_linear(states):
    linear, quadratic = (
        fit_probes(*states, ProbeConfig(form=form)) for form in ("linear", "quadratic")
    )
    assert accuracy(linear).accuracy < 0.62  # equality of signs is an exclusive or
    assert accuracy(quadratic).accuracy > 0.93
    for probes in (linear, quadratic):
        control = accuracy(probes, "shuffled")
        assert abs(control.accuracy - 0.5) < 0.12
        assert control.floor == 0.5
        assert control.n == 300


def test_two_tokens_of_one_object(states):
    row = accuracy(fit_probes(*states, ProbeConfig(target="same_object", form="quadratic")))
    assert row.n == 300 * 4
    assert (
        row.accuracy > 0.7
    )  # different objects have other signs; identical ones cannot be told apart


def planted(n, d, margin, seed=0):
    """Points of two classes on the two sides of a plane, with its normal."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
    label = torch.arange(n) % 2
    noise = torch.randn(n, d, generator=generator)
    noise = noise - (noise @ normal)[:, None] * normal
    return noise + (2 * label[:, None] - 1) * margin * normal, label, normal


def test_a_planted_direction_is_found():
    points, label, normal = planted(2000, 40, 2.0)
    shuffled = torch.from_numpy(shuffle(label.numpy(), 0))
    probe = fit(points, torch.stack([label, shuffled]), 2, ProbeConfig())
    trained = probe["weight"][0, 1] - probe["weight"][0, 0]
    assert torch.cosine_similarity(trained, normal, dim=0) > 0.95
    assert (scores(points, probe).argmax(-1)[0] == label).all()
    control = probe["weight"][1, 1] - probe["weight"][1, 0]
    assert abs(torch.cosine_similarity(control, normal, dim=0)) < 0.5


def test_quadratic_form_finds_similarity_at_any_scale():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2000, 6, generator=generator).sign()
    same = torch.arange(2000) % 2
    y = torch.where(same[:, None] == 1, x, y)
    keep = (same == 1) | (x != y).any(1)
    inputs, labels = torch.cat([x, y], 1)[keep], torch.stack([same, same])[:, keep]
    right = []
    for scale in (2**-7, 1.0, 2**7):
        probe = fit(inputs * scale, labels, 2, ProbeConfig(form="quadratic"))
        right.append((scores(inputs * scale, probe).argmax(-1) == labels).float().mean().item())
    assert min(right) > 0.9
    assert max(right) - min(right) < 0.005


def test_shuffled_labels_keep_their_counts_and_lose_the_truth():
    for labels in (np.arange(1000) % 2, np.random.default_rng(0).integers(0, 7, 999)):
        shuffled = shuffle(labels, 3)
        assert np.bincount(shuffled).tolist() == np.bincount(labels).tolist()
        share = np.bincount(labels) / len(labels)
        for value in np.unique(labels):
            within = (
                np.bincount(shuffled[labels == value], minlength=len(share))
                / (labels == value).sum()
            )
            assert np.abs(within - share).max() < 0.03
    assert (shuffle(labels, 3) == shuffle(labels, 3)).all()
    assert (shuffle(labels, 4) != shuffle(labels, 3)).any()


def test_units_point_at_the_right_tokens(tiny_rmts):
    scenes = sample("rmts", QUICK, "test", 8)
    tokens = (
        torch.arange(16).repeat(8, 1)[..., None] + 100 * torch.arange(8)[:, None, None]
    )  # name of each token
    for target, unit, shape in (
        ("judgement", "object", (8, 2, 8)),
        ("shape", "object", (8, 4, 4)),
        ("color", "token", (8, 16, 1)),
    ):
        index, label = units(scenes, ProbeConfig(target=target, unit=unit))
        assert index.shape == shape
        assert (index.reshape(8, -1) == np.arange(16)).all()
        assert label.shape == shape[:2]
        read = unit_inputs(tokens, index)
        assert read[0].tolist() == list(range(shape[2]))
        assert read[shape[1]].tolist() == [
            100 + i for i in range(shape[2])
        ]  # the next scene's first
    assert (units(scenes, ProbeConfig())[1] == scenes.relation).all()
    index, label = units(scenes, ProbeConfig(target="same_object"))
    assert ((index[..., 0] // 4 == index[..., 1] // 4) == label).all()
    assert (index[..., 0] // 8 == index[..., 1] // 8).all()
    assert (index[..., 0] != index[..., 1]).all()
    assert label.mean() == 0.5
    assert label.shape == (8, 8)


def test_object_states_are_those_of_the_site_or_of_the_input(tiny_rmts):
    model, processor = build_model(tiny_rmts)
    scenes = sample("rmts", QUICK, "test", 4)
    tokens = torch.from_numpy(model.config.geometry.tokens(scenes.patches())).flatten(1)
    pixels = processor(render(scenes))
    with torch.no_grad():
        hidden = model.eval()(pixel_values=pixels, output_hidden_states=True).hidden_states
        captured = capture(model, pixels, [Site("resid_post", 1)])[Site("resid_post", 1)]
    rows = torch.arange(4)[:, None]
    for compat, shift in (("corrected", 1), ("official", 0)):
        read = capture_object_states(Checkpoint(model, processor), scenes, compat=compat)
        assert sorted(read.states) == [0, 1]
        for layer in (0, 1):
            torch.testing.assert_close(read.states[layer], hidden[layer + shift][rows, tokens])
    torch.testing.assert_close(
        capture_object_states(Checkpoint(model, processor), scenes, [1]).states[1],
        captured[rows, tokens],
    )


def test_rmts_pools_both_pairs_and_saves_what_it_found(tiny_rmts, tmp_path):
    model, processor = build_model(tiny_rmts)
    scenes = sample("rmts", QUICK, "train", 40)
    config = ProbeConfig(epochs=1, layers=(1,))
    probes = fit_probes(
        Checkpoint(model, processor), scenes, sample("rmts", QUICK, "test", 8), config
    )
    assert accuracy(probes).n == 16
    assert probes.layers == [1]
    assert probes.directions(1).shape == (2, 8, model.config.hidden_size)
    probes.save(tmp_path)
    again = Probes.load(tmp_path)
    assert again.facts == probes.facts
    assert again.frame.equals(probes.frame)
    torch.testing.assert_close(
        again.directions(1, "shuffled"), probes.directions(1, "shuffled"), rtol=0, atol=0
    )
    again.plot(tmp_path / "probes.svg")
    assert (tmp_path / "probes.svg").stat().st_size > 1000
    repeated = fit_probes(
        Checkpoint(model, processor), scenes, sample("rmts", QUICK, "test", 8), config
    )
    torch.testing.assert_close(repeated.directions(1), probes.directions(1), rtol=0, atol=0)


def test_official_compat_reads_one_block_earlier_at_a_constant_rate(states):
    checkpoint, train, test = states
    with pytest.raises(
        RelViTError, match="corrected states for compat 'official': read them with that compat"
    ):
        fit_probes(checkpoint, train, test, ProbeConfig(compat="official"))
    points, label, _ = planted(640, 10, 1.0)
    goals = torch.stack([label, label])
    falling, constant = (
        fit(points, goals, 2, ProbeConfig(compat=c))["weight"] for c in ("corrected", "official")
    )
    assert constant.norm() > 1.2 * falling.norm()


def test_classes_that_training_lacks_are_never_right(states):
    checkpoint, train, _ = states
    some = np.nonzero((TRAIN.color < 8).all(1))[0]
    part = dataclasses.replace(train, scenes=TRAIN[some], states={0: train.states[0][some]})
    row = accuracy(fit_probes(checkpoint, part, states[2], ProbeConfig(target="color")))
    assert row.accuracy == pytest.approx((TEST.color < 8).mean(), abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "size"}, "unknown target 'size': expected one of judgement, shape"),
        ({"form": "cubic"}, "unknown form 'cubic'"),
        ({"unit": "patch"}, "unknown unit 'patch'"),
        ({"compat": "old"}, "unknown compat 'old'"),
        (
            {"form": "quadratic", "target": "shape"},
            "a quadratic probe compares two things, 'shape' is of one: use form",
        ),
        ({"epochs": 0}, "epochs 0: expected at least 1"),
    ],
)
def test_bad_config(change, message):
    with pytest.raises(RelViTError, match=message):
        ProbeConfig(**change)


def test_bad_input(states):
    checkpoint, train, test = states
    same = np.nonzero(TRAIN.label == 1)[0]
    one = dataclasses.replace(train, scenes=TRAIN[same], states={0: train.states[0][same]})
    with pytest.raises(
        RelViTError, match="1 class among the training labels of 'judgement': a probe needs two"
    ):
        fit_probes(checkpoint, one, test)
    with pytest.raises(RelViTError, match="training scenes of discrimination, test scenes of rmts"):
        fit_probes(checkpoint, train, sample("rmts", QUICK, "test", 4))
    large = sample("discrimination", GEOMETRIES["b32"], "test", 4)
    with pytest.raises(RelViTError, match="'b32' are one token each: 'same_object' needs two"):
        units(large, ProbeConfig(target="same_object"))
    with pytest.raises(RelViTError, match="do not fit a model of 64 px"):
        fit_probes(checkpoint, sample("discrimination", GEOMETRIES["b16"], "train", 4), TEST)
    with pytest.raises(RelViTError, match="the model has blocks 0 to 1"):
        fit_probes(checkpoint, TRAIN[:8], TEST, ProbeConfig(layers=(2,)))
    with pytest.raises(RelViTError, match="unknown compat 'old'"):
        capture_object_states(checkpoint, TEST, compat="old")
    probes = fit_probes(checkpoint, train, test, ProbeConfig(form="quadratic", epochs=1))
    with pytest.raises(
        RelViTError, match=r"no linear probe of layer 0: these are quadratic ones of layers \[0\]"
    ):
        probes.directions(0)
