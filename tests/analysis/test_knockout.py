"""Knocked-out heads: what is replaced is what was meant, chosen heads are compared with others, and claims follow."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TINY, vit_of

from hf_relvit.analysis.attention import AttentionStages
from hf_relvit.analysis.knockout import (
    HeadSet,
    Knockout,
    KnockoutConfig,
    _Bench,
    choose_heads,
    knock_out_heads,
)
from hf_relvit.analysis.probes import ProbeConfig, fit_probes
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.families import FAMILIES
from hf_relvit.modeling.head_outputs import edit_heads, read_heads
from hf_relvit.recipes.recipes import RECIPES, SECTIONS, USUAL
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.tables import select
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model

DISTRIBUTION = SceneDistribution("discrimination", GEOMETRIES["quick"], 32)
SCENES = DISTRIBUTION.sample("test", 12)
SMALL = KnockoutConfig(heads=1, draws=2, batch_size=5)


def opened(family="vit", task="discrimination"):
    torch.manual_seed(0)
    backbone = vit_of(family, 2, 32, 4, initializer_range=0.3)
    config = TrainConfig(**{**TINY, "backbone": backbone, "task": task})
    checkpoint = Checkpoint(*build_model(config))
    checkpoint.model.eval()
    return checkpoint


def logits_of(checkpoint, edit=None):
    pixels = checkpoint.pixel_values(SCENES)
    with torch.no_grad():
        if edit is None:
            return checkpoint.model(pixel_values=pixels).logits
        with edit_heads(checkpoint.model, edit):
            return checkpoint.model(pixel_values=pixels).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_of_every_family_are_reached_and_left_as_they_were(family):
    checkpoint = opened(family)
    before = checkpoint.model.config._attn_implementation
    plain = logits_of(checkpoint)
    seen = set()

    def look(layer, output):
        seen.add((layer, *output.shape[2:]))
        return output

    torch.testing.assert_close(logits_of(checkpoint, look), plain)
    assert seen == {(0, 4, 8), (1, 4, 8)}
    silent = logits_of(checkpoint, lambda layer, output: output * 0)
    assert not torch.allclose(silent, plain, atol=1e-4)
    assert checkpoint.model.config._attn_implementation == before
    assert logits_of(checkpoint).equal(plain)


def test_a_head_is_its_part_of_the_projections_input():
    """By hand: the same numbers are put where the projection of a ViT reads head 2 of block 1."""
    checkpoint = opened()
    block = checkpoint.blocks[1]
    (projection,) = [
        module
        for name, module in block.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module.in_features == module.out_features == 32
        and not any(word in name for word in ("query", "key", "value", "q_", "k_", "v_"))
    ]

    def by_hand(module, args):
        (hidden,) = args
        hidden = hidden.clone()
        hidden[..., 16:24] = 0.5
        return (hidden,)

    def edit(layer, output):
        output = output.clone()
        if layer == 1:
            output[:, :, 2] = 0.5
        return output

    hook = projection.register_forward_pre_hook(by_hand)
    expected = logits_of(checkpoint)
    hook.remove()
    torch.testing.assert_close(logits_of(checkpoint, edit), expected)


def test_replacements_are_what_they_are_called():
    checkpoint = opened()
    head = (1, 3)
    bench = _Bench(
        checkpoint, SCENES, SMALL, [HeadSet("within_pair", "strongest", 0, [head])], list
    )
    with torch.no_grad():
        pixels = checkpoint.pixel_values(SCENES)
        own = read_heads(checkpoint.model, pixels, [head])[head]
    torch.testing.assert_close(bench.outputs[head], own)
    mean = bench.replaced(head, "mean")
    torch.testing.assert_close(mean, own.mean(0, keepdim=True).expand_as(own))
    assert (np.sort(bench.other) == np.arange(12)).all()
    assert (bench.other != np.arange(12)).all()
    torch.testing.assert_close(bench.replaced(head, "other_image"), own[bench.other])
    noise = bench.replaced(head, "noise")
    spread = own.std(0, correction=0)
    standard = ((noise - mean) / spread.clamp_min(1e-9))[:, spread.amin(-1) > 1e-6]
    assert abs(standard.mean()) < 0.05 and abs(standard.std() - 1) < 0.05
    again = _Bench(
        checkpoint, SCENES, SMALL, [HeadSet("within_pair", "strongest", 0, [head])], list
    )
    assert again.replaced(head, "noise").equal(noise)


def test_scenes_that_are_all_alike_lose_nothing():
    """Their mean and the value in another image are their own."""
    checkpoint = opened()
    alike = SCENES[[3] * 8]
    config = KnockoutConfig(replacements=("mean", "other_image"), heads=2, draws=1)
    frame = knock_out_heads(checkpoint, alike, config).frame
    assert (frame.lost == 0).all()
    assert (frame.accuracy == frame.base_accuracy).all()


def test_heads_are_chosen_by_attention_and_compared_within_their_layers():
    grid = np.array([[0.9, 0.8, 0.7, 0.1], [0.2, 0.6, 0.3, 0.5]])
    rows = [
        {"layer": layer, "head": head, "kind": kind, "mean": mean if kind == "within_pair" else 0.1}
        for (layer, head), mean in np.ndenumerate(grid)
        for kind in ("within_object", "within_pair")
    ]
    stages = AttentionStages(pd.DataFrame(rows), {})
    config = KnockoutConfig(kinds=("within_pair", "between_pair"), heads=3, draws=4)
    strongest, *random = choose_heads(stages, config)
    assert strongest == ("within_pair", "strongest", 0, [(0, 0), (0, 1), (1, 1)])  # half of layer 0
    assert [each.draw for each in random] == [0, 1, 2, 3]
    for each in random:
        assert [layer for layer, _ in each.heads] == [0, 0, 1]
        assert len(set(each.heads)) == 3 and not set(each.heads) & set(strongest.heads)
    assert len({tuple(each.heads) for each in random}) > 1
    with pytest.raises(RelViTError, match=r"^heads 5: at most half .* expected 1 to 4$"):
        choose_heads(stages, KnockoutConfig(heads=5))
    with pytest.raises(RelViTError, match="scenes of one pair have within_object and within_pair"):
        choose_heads(stages, KnockoutConfig(kinds=("between_pair",)))


def test_numbers_of_a_real_model_in_any_batch_and_from_a_file(tmp_path):
    checkpoint = opened(task="rmts")
    scenes = SceneDistribution("rmts", GEOMETRIES["quick"], 32).sample("test", 12)
    found = knock_out_heads(checkpoint, scenes, SMALL)
    frame = found.frame
    assert set(frame.kind) == {"within_object", "within_pair", "between_pair"}
    whole = frame[frame.condition == "all"]
    assert len(whole) == 3 * 3 * (1 + 2)
    np.testing.assert_allclose(frame.lost, frame.base_accuracy - frame.accuracy, atol=1e-12)
    assert (frame.lost_low <= frame.lost + 1e-9).all() and (
        frame.lost <= frame.lost_high + 1e-9
    ).all()
    other = knock_out_heads(checkpoint, scenes, KnockoutConfig(heads=1, draws=2, batch_size=12))
    pd.testing.assert_frame_equal(other.frame, frame)
    found.save(tmp_path)
    found.plot(tmp_path / "knockout.png")
    opened_again = Knockout.load(tmp_path)
    pd.testing.assert_frame_equal(opened_again.frame, frame)
    text = SECTIONS["knockout"].tell(opened_again.frame)
    assert text.count("random at most") == 9


def test_probes_read_what_is_left():
    """Without an edit they read as before; where heads write the mean, the states after them differ."""
    checkpoint = opened()
    config = KnockoutConfig(heads=1, draws=1, train_scenes=64, scenes=16, batch_size=5)
    found = knock_out_heads(checkpoint, DISTRIBUTION, config)
    frame = found.frame
    assert set(frame.outcome) == {"answer", "shape", "color", "judgement"}
    layers = found.facts["read_at"]
    scenes = DISTRIBUTION.sample("test", 16)
    train = DISTRIBUTION.sample("train", 64)
    for kind, layer in layers.items():
        for target in ("shape", "color", "judgement"):
            probes = fit_probes(checkpoint, train, scenes, ProbeConfig(target, layers=(layer,)))
            expected = select(probes.frame, condition="trained").accuracy.item()
            rows = select(frame, kind=kind, outcome=target)
            assert rows.base_accuracy.to_numpy() == pytest.approx(expected)
            assert (rows.n == 16).all() and set(rows.condition) == {"all"}
            assert (rows.lost_low <= rows.lost + 1e-9).all()
    other = knock_out_heads(checkpoint, DISTRIBUTION, dataclasses.replace(config, batch_size=16))
    pd.testing.assert_frame_equal(other.frame, frame)
    text = SECTIONS["knockout"].tell(frame)
    assert text.count("reading shape") == len(layers) * 3


def test_a_table_without_outcomes_is_told_as_before():
    frame = knock_out_heads(opened(), SCENES, SMALL).frame
    older = frame.drop(columns="outcome")
    section = SECTIONS["knockout"]
    assert section.tell(older) == section.tell(frame)
    section.figure(older)


def test_a_study_makes_it_only_where_it_is_asked_for():
    assert "knockout" in RECIPES and "knockout" not in USUAL


def test_one_scene_is_one_line():
    with pytest.raises(RelViTError, match="1 scenes: a value of another image needs at least 2"):
        knock_out_heads(opened(), SCENES[:1], SMALL)
