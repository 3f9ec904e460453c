import os

import pytest
import torch
from tiny import vit_of
from transformers import ViTConfig, ViTForImageClassification

from hf_relvit.analysis.activations import (
    Site,
    at_tokens,
    capture,
    capture_residuals,
    forward_from,
    patch,
)
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling import FAMILIES
from hf_relvit.modeling.blocks import blocks
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.stimuli.scenes import sample
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model

QUICK = GEOMETRIES["quick"]
OWN = {"dinov3_vit": {"num_register_tokens": 4}, "beit": {"use_relative_position_bias": True}}


def tiny_model(family="vit", depth=3):
    backbone = vit_of(family, depth, 32, 2, initializer_range=0.3, **OWN.get(family, {}))
    model, processor = build_model(TrainConfig(backbone=backbone))
    return model.eval(), processor


@pytest.fixture(params=sorted(FAMILIES))
def family_model(request):
    return tiny_model(request.param)[0]


def images(n=3):
    return torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_sites_are_hidden_states_and_replay_is_exact(family_model):
    pixels = images()
    sites = [Site("resid_post", layer) for layer in range(3)]
    full = family_model(pixel_values=pixels, output_hidden_states=True)
    assert len(blocks(family_model)) == 3
    # one capture a site: the depth at which a pass ends must not matter
    for site in sites:
        hidden = capture(family_model, pixels, [site])[site]
        assert hidden.equal(capture(family_model, pixels, sites)[site])
        if site.layer < 2:  # after the last block some families give hidden_states the final norm
            assert hidden.equal(full.hidden_states[site.layer + 1])
        assert forward_from(family_model, site, hidden).equal(full.logits)
    assert family_model(pixel_values=pixels).logits.equal(
        full.logits
    )  # nothing of ours stays behind


@torch.no_grad()
def test_edits_reach_the_logits_as_a_replay_does(family_model):
    pixels, site = images(), Site("resid_post", 1)
    plain = family_model(pixel_values=pixels).logits
    with patch(family_model, site, lambda hidden: hidden.clone()):
        assert family_model(pixel_values=pixels).logits.equal(plain)

    def edit(hidden):
        return hidden + torch.linspace(-3, 3, hidden.shape[-1])

    hidden = capture(family_model, pixels, [site])[site]
    edited = forward_from(family_model, site, edit(hidden))
    with patch(family_model, site, edit):
        assert family_model(pixel_values=pixels).logits.equal(edited)
        assert forward_from(family_model, site, hidden).equal(edited)
        assert capture(family_model, pixels, [site])[site].equal(edit(hidden))
        # the capture hooks of transformers were there first (ours are put before them)
        assert (
            family_model(pixel_values=pixels, output_hidden_states=True)
            .hidden_states[2]
            .equal(edit(hidden))
        )
    assert not edited.equal(plain)
    assert family_model(pixel_values=pixels).logits.equal(plain)


def test_batches_of_one_and_of_many_agree(family_model):
    pixels, site = images(16), Site("resid_post", 1)
    with torch.no_grad():
        many = capture(family_model, pixels, [site])[site]
        one = torch.cat([capture(family_model, pixels[[i]], [site])[site] for i in range(16)])
        torch.testing.assert_close(one, many, atol=1e-4, rtol=1e-4)
        logits = forward_from(family_model, site, many)
        single = torch.cat([forward_from(family_model, site, many[[i]]) for i in range(16)])
    torch.testing.assert_close(logits, single, atol=1e-4, rtol=1e-4)


def test_replay_is_differentiable_and_skips_the_prefix():
    model, _ = tiny_model()
    model.requires_grad_(False)
    site = Site("resid_post", 1)
    ran = []
    for i, block in enumerate(blocks(model)):
        block.mlp.register_forward_hook(lambda *args, i=i: ran.append(i))
    residual = torch.randn(4, 65, 32, requires_grad=True)
    forward_from(model, site, residual)[:, 0].sum().backward()
    assert ran == [2]
    assert residual.grad.abs().sum((1, 2)).min() > 0
    ran.clear()
    capture(model, images(), [site])
    assert ran == [0, 1]


def test_plain_transformers_models_work_alike():
    torch.manual_seed(0)
    model = ViTForImageClassification(
        ViTConfig(**vit(2, 32, 2), image_size=64, patch_size=8, num_labels=2)
    ).eval()
    site = Site("resid_post", 0)
    with torch.no_grad():
        hidden = capture(model, images(), [site])[site]
        assert forward_from(model, site, hidden).equal(model(pixel_values=images()).logits)


def test_an_interrupted_run_leaves_the_model_as_it_was():
    model, _ = tiny_model()
    before = model(pixel_values=images()).logits
    with (
        pytest.raises(ZeroDivisionError),
        patch(model, Site("resid_post", 0), lambda hidden: 1 / 0),
    ):
        model(pixel_values=images())
    with (
        pytest.raises(ZeroDivisionError),
        patch(model, Site("resid_post", 2), lambda hidden: 1 / 0),
    ):
        forward_from(model, Site("resid_post", 0), torch.zeros(2, 65, 32))
    assert model(pixel_values=images()).logits.equal(before)


def test_residuals_are_the_same_in_memory_on_disk_and_in_parts(tmp_path):
    model, processor = tiny_model()
    scenes = sample("discrimination", QUICK, "test", 10)
    sites = [Site("resid_post", layer) for layer in range(3)]
    kept = capture_residuals(Checkpoint(model, processor), scenes, sites)
    assert kept[sites[0]].shape == (10, 65, 32)
    one_site = 10 * 65 * 32 * 4 / 1e9
    spilled = capture_residuals(
        Checkpoint(model, processor), scenes, sites, cache_gb=1.5 * one_site, folder=tmp_path
    )
    assert all(spilled[site].equal(kept[site]) for site in sites)
    assert os.listdir(tmp_path) == []  # unnamed files: nothing to clean up, even after a crash
    tokens = torch.from_numpy(model.config.geometry.tokens(scenes.patches())).flatten(1)
    some = capture_residuals(Checkpoint(model, processor), scenes, sites[1:], tokens=tokens)
    assert some[sites[1]].equal(at_tokens(kept[sites[1]], tokens))
    single = capture_residuals(Checkpoint(model, processor), scenes, sites[2:], batch_size=1)[
        sites[2]
    ]
    torch.testing.assert_close(single, kept[sites[2]], atol=1e-4, rtol=1e-4)


def test_bad_input_is_one_line():
    model, processor = tiny_model()
    with pytest.raises(RelViTError, match="blocks 0 to 2"):
        capture(model, images(), [Site("resid_post", 3)])
    with pytest.raises(RelViTError, match="blocks 0 to 2"):
        forward_from(model, Site("resid_post", 9), torch.zeros(1, 65, 32))
    with pytest.raises(RelViTError, match="width 16 for a model of width 32"):
        forward_from(model, Site("resid_post", 0), torch.zeros(1, 65, 16))
    with pytest.raises(RelViTError, match="expected 'resid_post'"):
        Site("resid_pre", 1)
    with pytest.raises(RelViTError, match="no list of None transformer blocks"):
        blocks(torch.nn.Linear(2, 2))
    with pytest.raises(RelViTError, match="do not fit a model of 64 px"):
        capture_residuals(
            Checkpoint(model, processor),
            sample("rmts", GEOMETRIES["small"], "test", 4),
            [Site("resid_post", 0)],
        )
    other = PixelProcessor(default_processor(64), 64)
    with pytest.raises(RelViTError, match="for a model that was trained with"):
        capture_residuals(
            Checkpoint(model, other),
            sample("discrimination", QUICK, "test", 4),
            [Site("resid_post", 0)],
        )
    with pytest.raises(RelViTError, match="choose another folder"):
        scenes = sample("discrimination", QUICK, "test", 4)
        capture_residuals(
            Checkpoint(model, processor),
            scenes,
            [Site("resid_post", 0)],
            cache_gb=0,
            folder="/no/such/folder",
        )
