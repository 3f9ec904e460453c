"""Alignments as modules of other libraries: the same swap, before and after a file."""

import builtins

import pytest
import torch
from safetensors.torch import save_file

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.export import (
    featurizer,
    load_featurizer,
    pyvene_intervention,
    save_featurizer,
)
from hf_relvit.analysis.subspaces import random_rotation
from hf_relvit.errors import RelViTError

WIDTH = 12
SITE = Site("resid_post", 0)


def orthogonal():
    rotation = random_rotation(WIDTH, WIDTH, torch.Generator().manual_seed(0))
    return Alignment(rotation, torch.arange(WIDTH) < 5, SITE, "color")


def oblique():
    generator = torch.Generator().manual_seed(1)
    write = torch.randn(4, WIDTH, generator=generator)
    read = torch.randn(4, WIDTH, generator=generator)
    read = torch.linalg.solve(read @ write.T, read)
    mask = torch.tensor([True, True, False, True])
    return Alignment(read, mask, SITE, "shape", "closed_form", write=write, scale=1.3)


@pytest.mark.parametrize("make", [orthogonal, oblique])
@pytest.mark.parametrize("from_file", [False, True])
def test_features_of_a_source_make_the_swap(tmp_path, make, from_file):
    """As MIB's interchange does it: the base's rest with the source's features."""
    alignment = make()
    features, states = featurizer(alignment)
    if from_file:
        save_featurizer(alignment, tmp_path / "color.safetensors")
        features, states = load_featurizer(tmp_path / "color.safetensors")
    base, source = torch.randn(2, 3, 4, WIDTH, generator=torch.Generator().manual_seed(2))
    own, rest = features(base)
    given, _ = features(source)
    assert own.shape == (3, 4, alignment.size)
    torch.testing.assert_close(states(own, rest), base)
    torch.testing.assert_close(
        states(given, rest), alignment.swap(base, source), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(states(own) + rest, base)


def test_an_alignment_of_no_direction_is_refused(tmp_path):
    empty = Alignment(torch.eye(WIDTH), torch.zeros(WIDTH, dtype=torch.bool), SITE, "color")
    with pytest.raises(RelViTError, match="no direction"):
        save_featurizer(empty, tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"read": torch.ones(1, 2)}, "holds read: expected read and write"),
        ({"read": torch.ones(1, 2), "write": torch.ones(2, 2)}, "of one shape"),
        (None, "cannot open the featurizer"),
    ],
)
def test_files_that_are_no_featurizer_are_one_line(tmp_path, tensors, message):
    file = tmp_path / "file.safetensors"
    if tensors is not None:
        save_file(tensors, file)
    with pytest.raises(RelViTError, match=message) as caught:
        load_featurizer(file)
    assert "\n" not in str(caught.value)


def test_without_pyvene_one_line_names_it(monkeypatch):
    find = builtins.__import__

    def without(name, *rest, **settings):
        if name == "pyvene":
            raise ImportError(name)
        return find(name, *rest, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RelViTError, match="pip install pyvene"):
        pyvene_intervention(orthogonal())
