"""What the page shows is what the model does: the same numbers by the library's own ways."""

from __future__ import annotations

import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from hf_relvit.analysis.activations import Site, patch
from hf_relvit.analysis.attention import attention_maps, measure_attention
from hf_relvit.geometry import geometry
from hf_relvit.modeling.stages import KINDS
from hf_relvit.spaces.interventions import edits, engine, passes
from hf_relvit.spaces.interventions import served as served_module
from hf_relvit.spaces.interventions.engine import answer, attention_on_patches, react, swapped
from hf_relvit.spaces.interventions.moves import first_state
from hf_relvit.spaces.interventions.passes import scene_pass, scene_table, source_table
from hf_relvit.spaces.interventions.state import Limits, PlacedObject
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample


def pixels(served, table):
    return served.checkpoint.pixel_values(table)


def same(served, table):
    with torch.no_grad():
        return served.model(pixel_values=pixels(served, table)).logits.softmax(-1)[0, 1].item()


@pytest.fixture
def state(served):
    return first_state(served.limits)


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_composed_scenes_are_scenes(task):
    """Typed in again, a sampled scene has the same answer, relations and pixels."""
    limits = Limits("m", task, geometry("quick"), 20, 20, 2, 2)
    table = sample(task, limits.geometry, "test", 24, combinations=128, seed=0)
    for i in range(24):
        values = zip(table.shape[i], table.color[i], table.corner[i])
        objects = tuple(
            PlacedObject(int(s), int(c), int(row), int(column)) for s, c, (row, column) in values
        )
        typed = scene_table(objects, limits, index=int(table.index[i]))
        for name in ("label", "relation", "difference"):
            assert np.array_equal(getattr(typed, name), getattr(table[i], name)), name
        assert np.array_equal(render(typed), render(table[i]))


def test_the_look_is_the_models(served, state):
    prediction, _ = react(served, state)
    table = scene_table(state.scene, served.limits)
    assert prediction.same == pytest.approx(same(served, table), abs=1e-6)
    assert prediction.same == pytest.approx(answer(served, render(table)[0]), abs=1e-6)
    frame = measure_attention(served.checkpoint, table).to_frame()
    for row in frame.itertuples():
        assert prediction.shares[row.layer, row.head, KINDS.index(row.kind)] == pytest.approx(
            row.mean, abs=1e-6
        )
    maps = attention_maps(served.checkpoint, table)
    first = served.checkpoint.geometry.prefix_tokens
    for layer in range(2):
        seen = attention_on_patches(served, dataclasses.replace(state, attention_layer=layer))
        assert np.allclose(seen, maps[layer, :, first:, first:], atol=1e-6)


@pytest.mark.parametrize("prop", ["shape", "color"])
def test_a_swap_is_that_of_an_attached_alignment(served, state, prop):
    state = dataclasses.replace(state, prop=prop, edited=1, giver=1)
    _, outcome = react(served, state)
    base, source = scene_table(state.scene, served.limits), source_table(state, served.limits)
    tokens, theirs = (
        torch.from_numpy(served.model.config.geometry.tokens(t.patches())) for t in (base, source)
    )
    for layer in range(2):
        alignment = served.alignments[prop, layer]
        for name, giver in (("edit", 1), ("other", 0)):
            value = alignment.read(served.checkpoint, source, theirs[:, giver])
            with alignment.attach(served.model, tokens[:, 1], value):
                assert outcome.same[name][layer] == pytest.approx(same(served, base), abs=1e-5)
        assert outcome.size[layer] == alignment.size == 20


def test_a_swap_with_the_goal(served, state):
    """B has X's color, A has B's shape: with X's color A becomes B's equal."""
    assert react(served, state)[1].goal == (1 if len(state.scene) == 2 else 0)
    assert swapped(state)[0] == dataclasses.replace(state.scene[0], color=state.scene[1].color)


def test_steering_adds_the_probes_direction(served, state):
    state = dataclasses.replace(state, action="steer", alpha=3.0)
    _, outcome = react(served, state)
    table = scene_table(state.scene, served.limits)
    tokens = torch.from_numpy(served.model.config.geometry.tokens(table.patches()))[0, :2].flatten()
    for layer in range(2):
        for name, condition in (("edit", "flip"), ("shuffled", "shuffled")):
            vectors = served.probes.steering_vectors(layer)
            step = 3.0 * vectors[condition][1]  # A and B differ: toward same

            def add(residual, step=step):
                out = residual.clone()
                out[:, tokens] += step
                return out

            with patch(served.model, Site("resid_post", layer), add):
                assert outcome.same[name][layer] == pytest.approx(same(served, table), abs=1e-5)


@pytest.mark.parametrize("alike", [False, True], ids=["different", "same"])
@pytest.mark.parametrize("method", ["known", "added", "interpolated", "sampled", "random"])
def test_injected_values_are_one_for_a_different_pair_and_two_for_a_same_one(
    served, state, alike, method
):
    b = state.scene[1]
    if alike:
        state = state.with_object(
            0, dataclasses.replace(state.scene[0], shape=b.shape, color=b.color)
        )
    state = dataclasses.replace(state, action="inject", method=method, draw=3)
    table = scene_table(state.scene, served.limits)
    tokens = torch.from_numpy(served.model.config.geometry.tokens(table.patches()))[0]
    with torch.no_grad():
        states = scene_pass(served, state).states
        for layer in range(2):
            made = edits.edit(served, state, layer)
            site, (edited, control) = made.site, made.streams
            alignment = served.alignments["color", site.layer]
            first, second = (alignment.encode(edited[0, tokens[j]]) for j in range(2))
            assert torch.allclose(first, second, atol=1e-4) != alike
            rest = edited - states[site]
            outside = rest - (rest @ alignment.basis.T) @ alignment.write_basis
            assert outside.abs().max() < 1e-4
            touched = (edited - states[site]).abs().amax(-1)[0] > 1e-6
            assert sorted(touched.nonzero().flatten().tolist()) == sorted(
                tokens[:2].flatten().tolist()
            )
            assert made.directions == alignment.size
            assert not torch.allclose(control, edited)


def test_after_the_last_layer_objects_do_not_matter(served, state):
    """The answer is read from the class token, so the curves end where the scene is."""
    for action in ("swap", "steer", "inject"):
        prediction, outcome = react(served, dataclasses.replace(state, action=action))
        for curve in outcome.same.values():
            assert curve[-1] == pytest.approx(prediction.same, abs=1e-6)
            assert np.isfinite(curve).all()


def test_another_draw_is_another_value(served, state):
    one, again, other = (
        react(served, dataclasses.replace(state, action="inject", method="sampled", draw=d))[1]
        for d in (0, 0, 1)
    )
    assert one.same["edit"][0] == again.same["edit"][0]
    assert one.same["edit"][0] != other.same["edit"][0]


def test_many_people_at_once_get_their_own_answers(served, state):
    states = [
        dataclasses.replace(state.with_object(0, PlacedObject(i, i, 3, 1)), layer=i % 2)
        for i in range(12)
    ]
    alone = [react(served, item) for item in states]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda item: react(served, item), states))
    for (prediction, outcome), (prediction2, outcome2) in zip(alone, together):
        assert prediction.same == prediction2.same
        assert np.array_equal(outcome.same["edit"], outcome2.same["edit"])
    assert len({prediction.same for prediction, _ in alone}) > 6


def test_layers_without_an_alignment_are_gaps(served, state):
    fewer = dataclasses.replace(served, alignments={("color", 1): served.alignments["color", 1]})
    _, outcome = react(fewer, state)
    assert np.isnan(outcome.same["edit"][0]) and np.isfinite(outcome.same["edit"][1])
    for action in ("swap", "inject"):
        _, nothing = react(fewer, dataclasses.replace(state, prop="shape", action=action))
        assert np.isnan(nothing.same["edit"]).all()


def counted_passes(served, monkeypatch):
    """How many layers of interventions and how many scenes the model runs, from now on."""
    for cached in (passes._pass, passes.patch_attention, engine._outcome):
        cached.cache_clear()
    runs = []
    for name in ("forward_from", "capture"):
        original = getattr(passes, name)

        def recorded(*arguments, name=name, original=original):
            runs.append(name)
            return original(*arguments)

        monkeypatch.setattr(passes, name, recorded)
    return runs


def test_nothing_is_computed_twice(served, state, monkeypatch):
    """One layer of a large model costs two passes and that layer; another click there costs that alone."""
    runs = counted_passes(served, monkeypatch)
    first = react(served, state, [1])[1]
    assert runs == ["capture", "forward_from"] * 2 + ["forward_from"]
    assert np.isnan(first.same["edit"][0]) and np.isfinite(first.same["edit"][1])
    again = react(served, dataclasses.replace(state, selected=1, layer=1, attention_layer=1), [1])
    assert len(runs) == 5 and again[1].same["edit"][1] == first.same["edit"][1]
    react(served, dataclasses.replace(state, action="steer"), [0])
    assert runs[5:] == ["forward_from"]
    whole = react(served, state)[1]
    assert runs[6:] == ["forward_from"] and whole.same["edit"][1] == first.same["edit"][1]


def test_a_curve_waits_for_those_who_wait_for_an_answer():
    from hf_relvit.spaces.interventions.turns import Turns

    turns, order = Turns(), []
    inside, leave = threading.Event(), threading.Event()

    def answered(name, *, wait=False):
        with turns.answer():
            inside.set()
            assert not wait or leave.wait(10)
            order.append(name)

    def grown():
        with turns.curve():
            order.append("curve")

    with ThreadPoolExecutor(3) as pool:
        pool.submit(answered, "first", wait=True)
        assert inside.wait(10)
        late = pool.submit(grown)
        second = pool.submit(answered, "second")
        while turns._asking < 2:
            time.sleep(0.001)
        leave.set()
        for each in (late, second):
            each.result(10)
    assert order == ["first", "second", "curve"]


def test_a_large_model_multiplies_in_bfloat16_and_says_the_same(served, state, monkeypatch):
    """Wherever the processor can; edits stay in float32."""
    exact = react(served, state)
    monkeypatch.setattr(served_module, "_LARGE", 0)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    fast = dataclasses.replace(served)
    assert fast.bf16 and not fast.at_once and not served.bf16
    rounded = react(fast, state)
    assert rounded[0].same == pytest.approx(exact[0].same, abs=0.02)
    assert rounded[0].same != exact[0].same
    for name, curve in exact[1].same.items():
        assert np.allclose(rounded[1].same[name], curve, atol=0.02)
    assert scene_pass(fast, state).states[Site("resid_post", 0)].dtype == torch.float32
