"""Oblique alignments: what is planted is found, what is not there is not, and files of both kinds open."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.alignment import Alignment, fingerprint
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.closed_form import LabeledStates, effects_of, fit_oblique
from hf_relvit.analysis.interchange import capture_pair_residuals
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals, sample_isolation_pairs

from .conftest import SIGN_OBJECTS

QUICK = GEOMETRIES["quick"]
SITE = Site("resid_post", 0)
CLOSED = DASConfig(method="closed_form")
WIDTH = 20


def planted(n=512, noise=0.3, seed=0):
    """States of objects of two tokens: a property in directions 0 to 2, the other one in a plane of 2 to 4."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, n)
    others = rng.integers(0, 6, n)
    codes = rng.normal(size=(2, 6, 2, 3))  # property, value, token, direction
    codes[1, :, :, 0] = codes[1, :, :, 1] + codes[1, :, :, 2]
    states = rng.normal(size=(n, 2, WIDTH)) * noise
    states[:, :, 0:3] += codes[0, values]
    states[:, :, 2:5] += codes[1, others]
    tensors = [torch.from_numpy(values), torch.from_numpy(others)]
    return LabeledStates(torch.from_numpy(states), *tensors)


def pairs(property, n=512, split="train"):
    return sample_counterfactuals("discrimination", QUICK, property, split, n, objects=SIGN_OBJECTS)


def accuracy(frame):
    return frame[frame.condition == "all"].accuracy.item()


def test_what_is_written_is_read_and_the_other_property_is_not():
    oblique = fit_oblique(planted())
    read, write = oblique.read, oblique.write
    identity = torch.eye(len(read), dtype=torch.float64)
    torch.testing.assert_close(read @ write.T, identity, atol=1e-9, rtol=0)
    torch.testing.assert_close(write @ write.T, identity, atol=1e-9, rtol=0)
    assert write[:3, :3].square().sum() > 2.9
    other = effects_of(planted()).others.flatten(0, 1)
    leaked = (other @ read.T).norm()
    orthogonal = (other @ write.T).norm()
    assert leaked < 0.2 * orthogonal


def test_chance_in_the_sample_gives_no_direction_to_the_other_property():
    """Both properties go together in 3 of 4 objects: means of one alone would hold much of the other."""
    sample = planted()
    together = torch.arange(len(sample)) % 4 > 0
    values = torch.where(together, sample.others, sample.values)
    rng = np.random.default_rng(1)
    codes = torch.from_numpy(rng.normal(size=(2, 6, 2, 2)))
    states = torch.from_numpy(rng.normal(size=(len(sample), 2, WIDTH))) * 0.05
    states[:, :, 0:2] += codes[0, values]
    states[:, :, 2:4] += codes[1, sample.others]
    oblique = fit_oblique(LabeledStates(states, values, sample.others))
    assert len(oblique.read) == 2
    assert oblique.write[:, 2:4].norm() < 0.05


def test_it_is_orthogonal_where_nothing_is_in_the_way():
    sample = planted(4096)
    alone = LabeledStates(
        sample.states[:, :, torch.tensor([0, 1, *range(5, WIDTH)])], sample.values, sample.others
    )
    oblique = fit_oblique(alone)
    torch.testing.assert_close(oblique.read, oblique.write, atol=0.05, rtol=0)


def test_directions_that_are_noise_are_left_out():
    assert len(fit_oblique(planted(4096)).read) == 3
    assert len(fit_oblique(planted(4096), size=2).read) == 2
    shuffled = planted(4096).shuffled(torch.Generator().manual_seed(0))
    effects = fit_oblique(shuffled).write[:, :3].square().sum()
    assert effects < 1.5


@pytest.mark.parametrize("property", ["color", "shape"])
def test_it_finds_what_the_model_reads_without_a_search(sign_model, property):
    checkpoint = Checkpoint(*sign_model("color", "shape"))
    alignment = fit_alignment(checkpoint, pairs(property), 0, CLOSED)
    test = capture_pair_residuals(checkpoint, pairs(property, 200, "test"), [SITE])
    assert accuracy(score_alignment(checkpoint, alignment, test)) > 0.95
    for control in ("wrong_object", "random_tokens"):
        assert accuracy(score_alignment(checkpoint, alignment, test, control)) < 0.05
    other = sample_isolation_pairs(pairs("shape" if property == "color" else "color", 200, "test"))
    assert accuracy(score_alignment(checkpoint, alignment, other)) > 0.95
    shuffled = fit_alignment(checkpoint, pairs(property), 0, CLOSED, shuffled=True)
    assert accuracy(score_alignment(checkpoint, shuffled, test)) < 0.5  # of 24 dimensions
    assert shuffled.facts["labels"] == "shuffled"


def test_what_the_model_does_not_judge_cannot_be_swapped(sign_model):
    checkpoint = Checkpoint(*sign_model("color"))
    alignment = fit_alignment(checkpoint, pairs("shape"), 0, CLOSED)
    assert accuracy(score_alignment(checkpoint, alignment, pairs("shape", 200, "test"))) <= 0.55


def test_a_given_scale_is_taken_and_swaps_overshoot_by_it(sign_model):
    checkpoint = Checkpoint(*sign_model("color"))
    config = DASConfig(method="closed_form", scale=1.5)
    alignment = fit_alignment(checkpoint, pairs("color"), 0, config)
    base, source = torch.randn(2, 5, 4, alignment.width)
    moved = alignment.encode(alignment.swap(base, source)) - alignment.encode(base)
    wanted = 1.5 * (alignment.encode(source) - alignment.encode(base))
    torch.testing.assert_close(moved, wanted, atol=1e-3, rtol=1e-3)
    assert alignment.swap(base, base).equal(base)


@pytest.fixture
def oblique(sign_model):
    checkpoint = Checkpoint(*sign_model("color", "shape"))
    return checkpoint, fit_alignment(checkpoint, pairs("color"), 0, CLOSED)


def test_it_is_saved_and_attached_like_any_alignment(oblique, tmp_path):
    checkpoint, alignment = oblique
    alignment.save(tmp_path)
    opened = Alignment.load(tmp_path)
    assert opened.rotation.equal(alignment.rotation) and opened.write.equal(alignment.write)
    assert opened.scale == alignment.scale and opened.facts == alignment.facts
    table = pairs("color", 32, "test")
    tokens = [
        torch.from_numpy(checkpoint.geometry.tokens(scenes.patches()[range(32), which]))
        for scenes, which in ((table.base, table.edited), (table.source, table.source_object))
    ]
    source = opened.read(checkpoint, table.source, tokens[1])
    with torch.no_grad(), opened.attach(checkpoint.model, tokens[0], source):
        logits = checkpoint.model(pixel_values=checkpoint.pixel_values(table.base)).logits
    hits = (logits.argmax(-1).numpy() == table.label).mean()
    assert hits == accuracy(score_alignment(checkpoint, alignment, table))


def test_files_of_orthogonal_alignments_of_the_first_version_open(oblique, tmp_path):
    """The file as version 1.0 wrote it: a rotation and a mask, neither scale nor rows to write."""
    checkpoint, _ = oblique
    rotation = checkpoint.model.basis.detach().contiguous()
    mask = torch.zeros(len(rotation), dtype=torch.bool)
    mask[checkpoint.model.COLOR] = True
    save_file({"rotation": rotation, "mask": mask}, tmp_path / "alignment.safetensors")
    values = {
        "facts": {},
        "method": "das",
        "model": fingerprint(checkpoint.blocks[0]),
        "property": "color",
        "site": "resid_post.0",
        "size": 4,
        "width": 24,
    }
    (tmp_path / "alignment.json").write_text(json.dumps(values))
    opened = Alignment.load(tmp_path)
    assert opened.write is None and opened.scale == 1
    assert accuracy(score_alignment(checkpoint, opened, pairs("color", 64, "test"))) == 1
    (tmp_path / "alignment.json").write_text(json.dumps(values | {"model": "0" * 16}))
    with pytest.raises(RelViTError, match="an alignment for weights 0000000000000000, the model"):
        score_alignment(checkpoint, Alignment.load(tmp_path), pairs("color", 64, "test"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"write": torch.zeros(3, 24)}, r"rows to read, \(3, 24\) to write"),
        ({"scale": float("nan")}, "scale nan: expected a number above 0"),
        ({"scale": 0.0}, "scale 0.0: expected a number above 0"),
    ],
)
def test_operators_that_do_not_fit_are_one_line(oblique, wrong, message):
    with pytest.raises(RelViTError, match=message):
        dataclasses.replace(oblique[1], **wrong)
    with pytest.raises(RelViTError, match="do not give the coordinates that are written"):
        dataclasses.replace(oblique[1], write=oblique[1].write * 2)


def states(change):
    sample = planted(32)
    tensors = {"states": sample.states, "values": sample.values, "others": sample.others}
    return {**tensors, **change(sample)}


@pytest.mark.parametrize(
    ("change", "size", "message"),
    [
        (lambda s: {"values": s.values * 0}, None, "1 value of the property in 32 objects"),
        (lambda s: {"states": s.states * torch.nan}, None, "states that are not finite"),
        (lambda s: {"states": s.states / 0}, None, "states that are not finite"),
        (lambda s: {"states": s.states * 0}, None, "do not vary with the property"),
        (lambda s: {}, 11, "11 directions from 32 objects whose means span 10"),
        (lambda s: {"states": effects_alone(s)}, None, "singular"),
    ],
    ids=["one value", "nan", "infinite", "constant", "few scenes", "singular"],
)
def test_bad_states_are_one_line(change, size, message):
    with pytest.raises(RelViTError, match=message) as caught:
        fit_oblique(LabeledStates(**states(change)), size)
    assert "\n" not in str(caught.value)


def effects_alone(sample):
    """States that are told by the property alone: nothing varies around its means."""
    codes = torch.randn(
        6, 2, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return codes[sample.values]
