"""The demonstration of examples/reversible_map.py, at reduced size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        import reversible_map
    return reversible_map


def test_the_map_is_undone_and_swaps_nothing_with_itself(example):
    torch.manual_seed(0)
    states = torch.randn(256, 64) @ torch.randn(64, 64)
    found = example.ReversibleMap(states)
    for net in found.couplings:
        torch.nn.init.normal_(net[-1].weight, std=0.1)
    size = states.abs().max().item()
    assert not torch.allclose(found.inverse(found(states) + 1), states, atol=0.1 * size)
    assert torch.allclose(found.inverse(found(states)), states, atol=1e-3 * size)
    assert torch.allclose(found.swap(states, states), states, atol=1e-3 * size)


@pytest.mark.long
def test_it_explains_a_random_network_and_linear_methods_do_not(example):
    data = example.captured(pairs=1024, test_pairs=400)
    linear = example.linear(data, steps=64)
    found = {
        name: [row["accuracy"] for row in example.scored(data, name, swap)]
        for name, swap in (linear | {"map": example.learned(data, steps=250).swap}).items()
    }
    reversible, wrong_object = found.pop("map")
    assert reversible > 0.8
    assert max(max(pair) for pair in found.values()) < 0.62
    # the controls call it: the source does not matter
    assert wrong_object > 0.75
