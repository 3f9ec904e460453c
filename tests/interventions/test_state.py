"""States and links: what goes out comes back, and what is hostile is refused in one line."""

from __future__ import annotations

import contextlib
import dataclasses
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relvit.analysis.novel import METHODS
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import geometry
from hf_relvit.spaces.interventions.moves import first_state, touch
from hf_relvit.spaces.interventions.state import (
    ACTIONS,
    Limits,
    PlacedObject,
    check,
    from_query,
    overlap,
    to_query,
)

TWO = Limits("two", "discrimination", geometry("quick"), 20, 20, 6, 4)
FOUR = Limits("four", "rmts", geometry("b16"), 20, 20, 12, 12)
LIMITS = {limits.model: limits for limits in (TWO, FOUR)}
STARTS = {name: first_state(limits) for name, limits in LIMITS.items()}


@pytest.mark.parametrize("limits", [TWO, FOUR], ids=["discrimination", "rmts"])
def test_the_first_state_is_allowed(limits):
    check(first_state(limits), limits)


@given(st.data())
def test_a_link_gives_the_state_back(data):
    limits = LIMITS[data.draw(st.sampled_from(sorted(LIMITS)))]
    state = first_state(limits)
    draw = lambda stop: data.draw(st.integers(0, stop - 1))  # noqa: E731
    for _ in range(data.draw(st.integers(0, 6))):  # wherever clicks lead
        event = {"x": data.draw(st.floats(0, 1)), "y": data.draw(st.floats(0, 1))}
        try:
            state = touch(state, limits, data.draw(st.sampled_from(["scene", "source"])), event)
        except RelViTError:
            continue
    state = dataclasses.replace(
        state,
        attention_layer=draw(limits.layers),
        attention_head=draw(limits.heads + 1) - 1,
        action=data.draw(st.sampled_from(ACTIONS)),
        prop=data.draw(st.sampled_from(["shape", "color"])),
        layer=draw(limits.layers),
        edited=draw(limits.objects),
        giver=draw(2),
        alpha=draw(41) / 10,
        pair=draw(limits.objects // 2),
        method=data.draw(st.sampled_from(METHODS)),
        draw=draw(1000),
    )
    assert from_query(to_query(state), STARTS, LIMITS) == check(state, limits)


def test_a_short_link_takes_the_rest_from_the_start():
    assert from_query("", STARTS, LIMITS) == STARTS["two"]
    assert from_query("model=four&at=11", STARTS, LIMITS) == dataclasses.replace(
        STARTS["four"], layer=11
    )
    assert from_query("__theme=dark&utm_source=mail", STARTS, LIMITS) == STARTS["two"]


HOSTILE = [
    ("model", "../../etc/passwd"),
    ("model", "<script>alert(1)</script>"),
    ("scene", "1.1.1.1"),
    ("scene", "1.1.0.0_1.1.0.0"),
    ("scene", "1.1.0.0_1.1.7.7"),
    ("scene", "99.1.0.0_1.1.4.4"),
    ("scene", "1.1.0_1.1.4.4"),
    ("scene", "a.b.c.d_1.1.4.4"),
    ("scene", "_".join(["1.1.0.0"] * 50)),
    ("source", "1.1.0.0_1.1.-1.4"),
    ("source", "1.1.0.0_1.1.²³.4"),
    ("at", "6"),
    ("at", "1e3"),
    ("at", "9" * 500),
    ("head", "-2"),
    ("to", "2"),
    ("from", "None"),
    ("draw", "1000"),
    ("alpha", "nan"),
    ("alpha", "inf"),
    ("alpha", "-1"),
    ("alpha", "4.1"),
    ("do", "rm -rf /"),
    ("what", "size"),
    ("how", "'; DROP TABLE"),
    ("pair", "1"),
    ("select", "4"),
    ("x", "y" * 2000),
]


@pytest.mark.parametrize(("key", "value"), HOSTILE)
def test_hostile_values_are_refused_in_one_line(key, value):
    with pytest.raises(RelViTError) as caught:
        from_query(urlencode({key: value}), STARTS, LIMITS)
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value) or "overlap" in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=300))
def test_no_text_breaks_the_parser(text):
    with contextlib.suppress(RelViTError):
        check(from_query(text, STARTS, LIMITS), TWO)


@pytest.mark.parametrize(
    ("name", "value"), [("layer", 0.5), ("layer", "0"), ("alpha", "1"), ("layer", True)]
)
def test_only_numbers_are_numbers(name, value):
    with pytest.raises(RelViTError):
        check(dataclasses.replace(STARTS["two"], **{name: value}), TWO)


def test_the_display_pair_stands_where_training_showed_it():
    state = STARTS["four"]
    moved = dataclasses.replace(state.scene[2], row=5)
    with pytest.raises(RelViTError, match="display"):
        check(state.with_object(2, moved), FOUR)
    with pytest.raises(RelViTError, match="display"):
        check(state.with_object(4, PlacedObject(1, 1, 0, 1)), FOUR)


def test_overlap_counts_patches():
    a = PlacedObject(0, 0, 2, 2)
    assert overlap(a, PlacedObject(0, 0, 3, 3), TWO.geometry)
    assert not overlap(a, PlacedObject(0, 0, 4, 2), TWO.geometry)
