import dataclasses
import json

import pandas as pd
import pytest
import torch

from hf_relvit.analysis.activations import Site, forward_from, patch
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.interchange import capture_pair_residuals, intervene
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals
from hf_relvit.stimuli.rendering import render
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model

SITE = Site("resid_post", 1)
TABLE = sample_counterfactuals("discrimination", GEOMETRIES["quick"], "color", "train", 32)


def tiny_model(seed=0, width=32):
    return build_model(
        TrainConfig(backbone=vit(3, width, 2) | {"initializer_range": 0.3}, seed=seed)
    )


@pytest.fixture
def fitted():
    model, processor = tiny_model()
    return (
        model,
        processor,
        fit_alignment(
            Checkpoint(model, processor), TABLE, 1, DASConfig(epochs=2, lr_rotation=1e-2)
        ),
    )


def objects_of(scenes, which, geometry):
    """Tokens of one object a scene, int64 ``(n, 4)``, and the pixels."""
    return torch.from_numpy(geometry.tokens(scenes.patches()[range(len(scenes)), which]))


def test_swap_is_the_formula_of_the_paper(fitted):
    *_, alignment = fitted
    base, source = torch.randn(5, 4, 32), torch.randn(5, 4, 32)
    R, m = alignment.rotation, alignment.mask.float()
    expected = ((1 - m) * (base @ R.T) + m * (source @ R.T)) @ R
    swapped = alignment.swap(base, source)
    torch.testing.assert_close(swapped, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        alignment.encode(swapped), alignment.encode(source), atol=1e-5, rtol=1e-5
    )
    assert 0 < alignment.size < alignment.width == 32
    assert alignment.swap(base, base).equal(base)


def test_swapping_an_object_with_itself_changes_nothing(fitted):
    model, processor, alignment = fitted
    pixels = processor(render(TABLE.base))
    tokens = objects_of(TABLE.base, TABLE.edited, model.geometry)
    with torch.no_grad():
        plain = model(pixel_values=pixels).logits
        own = alignment.read(Checkpoint(model, processor), TABLE.base, tokens)
        with alignment.attach(model, tokens, own):
            assert model(pixel_values=pixels).logits.equal(plain)
        assert model(pixel_values=pixels).logits.equal(plain)


def test_attached_to_a_plain_model_it_does_what_fitting_and_scoring_do(fitted, tmp_path):
    model, processor, alignment = fitted
    alignment.save_pretrained(tmp_path)
    plain, opened = model.to_plain().eval(), Alignment.from_pretrained(tmp_path)
    base = processor(render(TABLE.base))
    base_tokens = objects_of(TABLE.base, TABLE.edited, model.geometry)
    with torch.no_grad():
        given = opened.read(
            Checkpoint(plain, processor),
            TABLE.source,
            objects_of(TABLE.source, TABLE.source_object, model.geometry),
        )
        with opened.attach(plain, base_tokens, given):
            logits = plain(pixel_values=base).logits
        data = capture_pair_residuals(
            Checkpoint(model, processor), TABLE, [SITE], batch_size=len(TABLE)
        )
        tokens, states = data.operands(SITE)
        assert tokens.equal(base_tokens) and states.equal(given)
        edited = intervene(
            data.base[SITE], tokens, states, alignment.rotation, alignment.mask.float()
        )
        assert forward_from(model.eval(), SITE, edited).equal(logits)
        assert not plain(pixel_values=base).logits.equal(logits)
    accuracy = score_alignment(Checkpoint(model, processor), opened, data).accuracy[0]
    assert accuracy == (logits.argmax(-1).numpy() == TABLE.label).mean()


def test_the_batch_size_changes_nothing(fitted):
    model, processor, alignment = fitted
    one, many = (
        score_alignment(Checkpoint(model, processor), alignment, TABLE, batch_size=size)
        for size in (1, 64)
    )
    pd.testing.assert_frame_equal(one, many, rtol=1e-6)


def test_saving_keeps_every_bit(fitted, tmp_path):
    *_, alignment = fitted
    alignment.save_pretrained(tmp_path / "a")
    opened = Alignment.from_pretrained(tmp_path / "a")
    assert opened.rotation.equal(alignment.rotation) and opened.mask.equal(alignment.mask)
    for name in ("site", "property", "method", "model", "facts", "width", "size"):
        assert getattr(opened, name) == getattr(alignment, name)
    assert opened.facts["provenance"]["processor"] == fitted[1].fingerprint
    assert sorted(p.name for p in (tmp_path / "a").glob("[!.]*")) == [
        "alignment.json",
        "alignment.safetensors",
    ]


def test_an_interrupted_save_is_not_taken_for_a_whole_one(fitted, tmp_path, monkeypatch):
    *_, alignment = fitted
    alignment.save_pretrained(tmp_path)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hf_relvit.analysis.result.save_file", fail)
    with pytest.raises(RelViTError, match="free some space"):
        alignment.save_pretrained(tmp_path)
    with pytest.raises(RelViTError, match="no alignment in"):
        Alignment.from_pretrained(tmp_path)


def test_the_wrong_model_is_refused(fitted):
    model, _, alignment = fitted
    with pytest.raises(RelViTError, match=r"for weights .* the model has .* use the checkpoint"):
        alignment.check(tiny_model(seed=1).model)
    with pytest.raises(RelViTError, match="width 32 for a model of width 16"):
        alignment.check(tiny_model(width=16).model)
    deep = dataclasses.replace(alignment, site=Site("resid_post", 3))
    with pytest.raises(RelViTError, match="blocks 0 to 2"):
        deep.check(model)
    dataclasses.replace(alignment, model=None).check(tiny_model(seed=1).model)


def test_operands_that_do_not_fit_are_refused(fitted):
    model, processor, alignment = fitted
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    with pytest.raises(RelViTError, match="expected \\(2, 4, 32\\)"):
        alignment.attach(model, tokens, torch.zeros(2, 3, 32))
    pixels = processor(render(TABLE.base[:3]))
    with (
        pytest.raises(RelViTError, match="3 images, tokens for 2"),
        alignment.attach(model, tokens, torch.zeros(2, 4, 32)),
    ):
        model(pixel_values=pixels)
    assert torch.isfinite(model(pixel_values=pixels).logits).all()  # the hook is gone


def test_broken_files_are_one_line(fitted, tmp_path):
    *_, alignment = fitted
    with pytest.raises(RelViTError, match=r"cannot open the alignment .*nothing-here"):
        Alignment.from_pretrained(tmp_path / "nothing-here")
    with pytest.raises(RelViTError, match="cannot open the alignment someone/something"):
        Alignment.from_pretrained("someone/something")  # no network in tests
    tensors, facts = tmp_path / "alignment.safetensors", tmp_path / "alignment.json"
    alignment.save_pretrained(tmp_path)
    whole = tensors.read_bytes()
    for broken in (whole[:100], whole[:-8], b""):
        tensors.write_bytes(broken)
        with pytest.raises(RelViTError, match="cannot open the alignment"):
            Alignment.from_pretrained(tmp_path)
    tensors.write_bytes(whole)
    values = json.loads(facts.read_text())
    for wrong, message in (
        ({"property": "size"}, "unknown property 'size'"),
        ({"site": "resid_pre.1"}, "expected 'resid_post'"),
    ):
        facts.write_text(json.dumps(values | wrong))
        with pytest.raises(RelViTError, match=message):
            Alignment.from_pretrained(tmp_path)
    facts.write_text("{}")
    with pytest.raises(RelViTError, match="missing required field `property`"):
        Alignment.from_pretrained(tmp_path)
    with pytest.raises(RelViTError, match="not orthonormal"):
        dataclasses.replace(alignment, rotation=alignment.rotation * 2)
    with pytest.raises(RelViTError, match="expected \\(k, hidden\\) and bool"):
        dataclasses.replace(alignment, mask=alignment.mask[1:])


def test_edits_at_other_sites_compose(fitted):
    """An alignment is a patch like any other: edits before it are seen by it, edits after it see it."""
    model, processor, alignment = fitted
    model.eval()
    pixels = processor(render(TABLE.base[:4]))
    tokens = objects_of(TABLE.base[:4], TABLE.edited[:4], model.geometry)
    seen = []
    with (
        torch.no_grad(),
        patch(model, SITE, lambda hidden: seen.append(hidden) or hidden),
        alignment.attach(model, tokens, torch.zeros(4, 4, 32)),
        patch(model, Site("resid_post", 2), lambda hidden: seen.append(hidden) or hidden),
    ):
        model(pixel_values=pixels)
    first, second = seen
    assert first.shape == second.shape
    written = first.gather(1, tokens[..., None].expand(-1, -1, 32))
    torch.testing.assert_close(
        alignment.encode(written), torch.zeros(4, 4, alignment.size), atol=1e-4, rtol=0
    )


def test_an_alignment_is_made_in_float32_whatever_the_model_runs_in(fitted):
    _, _, alignment = fitted
    outside = alignment.random_directions()
    with torch.autocast("cpu", torch.bfloat16):
        inside = alignment.random_directions()
        alignment.compact()
    assert torch.equal(inside.rotation, outside.rotation)
