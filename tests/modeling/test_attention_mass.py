import threading

import pytest
import torch
from torch import nn
from transformers import AttentionInterface, AutoModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import (
    FAMILIES,
    RelViTConfig,
    RelViTForImageClassification,
    RelViTModel,
    pipeline_loss,
    record_object_attention,
)
from hf_relvit.modeling.attention_mass import relvit_attention

PATCHES = torch.tensor(
    [  # three images, two objects of unequal size
        [[0, 1, 4, 5], [10, 11, 14, 15]],
        [[2, 3, 6, 7], [8, 9, -1, -1]],
        [[5, -1, -1, -1], [0, 1, 2, 3]],
    ]
)


def mass_from_maps(maps, tokens, prefix):
    """The definition, spelled out: object rows of full maps ``(batch, heads, tokens, tokens)``, summed over sets."""
    images = []
    for attention, objects in zip(maps, tokens.tolist()):
        objects = [[t for t in o if t >= 0] for o in objects]
        used = {t for o in objects for t in o}
        background = [t for t in range(prefix, attention.shape[-1]) if t not in used]
        sets = [*objects, list(range(prefix))[:1], list(range(1, prefix)), background]
        rows = [attention[:, o].mean(1) for o in objects]
        images.append(
            torch.stack([torch.stack([row[:, s].sum(-1) for s in sets], -1) for row in rows], 1)
        )
    return torch.stack(images)


SHARED_BIAS = {"use_relative_position_bias": None, "use_shared_relative_position_bias": True}


@pytest.mark.parametrize(
    ("family", "changes"), [*((f, {}) for f in sorted(FAMILIES)), ("beit", SHARED_BIAS)]
)
def test_equals_eager_maps_and_leaves_the_output_alone(family, changes, backbone, batch, spread):
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone(family, **changes)))
    spread(model).eval()
    images, geometry = batch()["pixel_values"], model.geometry
    tokens = geometry.tokens(PATCHES)
    with torch.no_grad():
        plain = model(images).logits
        with record_object_attention(tokens, geometry.prefix_tokens) as recorded:
            logits = model(images).logits
        model.set_attn_implementation("eager")
        eager = model(images, output_attentions=True)
    assert torch.equal(logits, plain)
    torch.testing.assert_close(logits, eager.logits, atol=1e-5, rtol=0)
    assert len(recorded.mass) == len(eager.attentions) == 2
    for mass, maps in zip(recorded.mass, eager.attentions):
        assert mass.shape == (3, 4, 2, 5) and mass.dtype == torch.float32
        assert maps.std() > 0.01  # not uniform, so that a wrong token shows
        torch.testing.assert_close(
            mass, mass_from_maps(maps, tokens, geometry.prefix_tokens), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(mass.sum(-1), torch.ones(3, 4, 2))
    if geometry.prefix_tokens == 0:
        assert not recorded.mass[0][..., 2:4].any()


def test_works_on_an_ordinary_model_and_on_chosen_layers(backbone, batch):
    model = AutoModel.from_config(backbone("vit"), attn_implementation="relvit").eval()
    with (
        torch.no_grad(),
        record_object_attention(PATCHES + (PATCHES >= 0).long(), 1, layers=[1]) as recorded,
    ):
        model(batch()["pixel_values"])
    assert recorded.mass[0] is None and recorded.mass[1] is not None


def test_recording_works_after_another_copy_took_the_name(backbone, batch):
    """As remote code of an older version does, which knows nothing of a shared context."""
    AttentionInterface.register("relvit", sdpa_attention_forward)
    model = RelViTModel(RelViTConfig(backbone_config=backbone("vit"))).eval()
    with record_object_attention(model.geometry.tokens(PATCHES), 1) as recorded:
        model(batch()["pixel_values"])
    assert len(recorded.mass) == 2


def test_an_object_without_tokens_has_no_mass(backbone, batch):
    model = RelViTModel(RelViTConfig(backbone_config=backbone("vit"))).eval()
    tokens = model.geometry.tokens(PATCHES)
    tokens[0, 1] = -1
    with record_object_attention(tokens, 1) as recorded:
        model(batch()["pixel_values"])
    assert not recorded.mass[0][0, :, 1].any()
    torch.testing.assert_close(recorded.mass[0][0, :, 0].sum(-1), torch.ones(4))


def test_gradients_equal_those_through_eager_maps(backbone, batch, spread):
    config = RelViTConfig(
        backbone_config=backbone("vit"),
        pipeline={"within_object": [0], "within_pair": [1], "between_pair": [1], "heads": [0, 2]},
    )
    model = spread(RelViTForImageClassification(config)).train()
    inputs = batch()
    tokens = model.geometry.tokens(inputs["patches"])
    parameters = list(model.backbone.layers.parameters())
    ours = torch.autograd.grad(model(**inputs).pipeline_loss, parameters, allow_unused=True)
    model.set_attn_implementation("eager")
    maps = model.backbone(inputs["pixel_values"], output_attentions=True).attentions
    mass = [mass_from_maps(m, tokens, 1) for m in maps]
    theirs = torch.autograd.grad(pipeline_loss(mass, model.pipeline), parameters, allow_unused=True)
    assert any(g is not None and g.abs().max() > 1e-4 for g in theirs)
    for a, b in zip(ours, theirs):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


class Module(nn.Module):
    is_causal = False


def test_gradients_by_finite_differences():
    module, tokens = Module(), torch.tensor([[[1, 2], [4, -1]]])

    def mass(query, key, bias):
        with record_object_attention(tokens, 1) as recorded:
            relvit_attention(module, query, key, key, bias)
        return recorded.mass[0]

    inputs = [torch.randn(1, 2, 6, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    bias = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert mass(*inputs, bias).dtype == torch.float64
    assert torch.autograd.gradcheck(mass, [*inputs, bias])


def test_gradients_of_both_losses_by_finite_differences(backbone, batch, spread):
    config = RelViTConfig(
        backbone_config=backbone("vit"),
        disentanglement={"layer": 1},
        pipeline={"within_object": [0], "within_pair": [1], "between_pair": [1]},
    )
    model = spread(RelViTForImageClassification(config)).double().eval()
    inputs = batch(dtype=torch.float64)

    def loss():
        out = model(**inputs)
        return out.disentanglement_loss + out.pipeline_loss

    loss().backward()
    for name in (
        "layers.0.attention.q_proj.weight",
        "layers.1.attention.k_proj.weight",
        "layers.0.mlp.fc2.weight",
    ):
        weight = model.backbone.get_parameter(name)
        direction = torch.randn_like(weight)
        step = 1e-5
        with torch.no_grad():
            weight += step * direction
            above = loss()
            weight -= 2 * step * direction
            below = loss()
            weight += step * direction
        slope = (weight.grad * direction).sum()
        torch.testing.assert_close((above - below) / (2 * step), slope, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("mask", ["none", "boolean", "additive"])
def test_bfloat16_on_cpu_equals_the_fused_kernel(mask):
    query, key, value = (torch.randn(2, 4, 17, 8).bfloat16() for _ in range(3))
    bias = {
        "none": None,
        "boolean": torch.rand(2, 1, 17, 17) > 0.3,
        "additive": torch.randn(1, 4, 17, 17).bfloat16(),
    }[mask]
    out, weights = relvit_attention(Module(), query, key, value, bias)
    expected = nn.functional.scaled_dot_product_attention(
        query.float(),
        key.float(),
        value.float(),
        attn_mask=bias if mask != "additive" else bias.float(),
    )
    assert weights is None and out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected.transpose(1, 2), atol=3e-2, rtol=0)
    with record_object_attention(torch.tensor([[[1, 2]], [[3, 4]]]), 1) as recorded:
        relvit_attention(Module(), query, key, value, bias)
    torch.testing.assert_close(recorded.mass[0].sum(-1), torch.ones(2, 4, 1))


def test_dropout_acts_on_the_output_only():
    query, key, value = (torch.randn(1, 2, 9, 4) for _ in range(3))
    for dtype in (torch.float32, torch.bfloat16):
        states = [x.to(dtype) for x in (query, key, value)]
        mass = []
        for dropout in (0.0, 0.5):
            with record_object_attention(torch.tensor([[[1, 2]]]), 1) as recorded:
                out, _ = relvit_attention(Module(), *states, None, dropout=dropout)
            mass.append(recorded.mass[0])
        assert torch.equal(*mass)
        assert not torch.equal(out, relvit_attention(Module(), *states, None)[0])


def test_autocast_keeps_the_reduction_in_float32(backbone, batch):
    model = RelViTModel(RelViTConfig(backbone_config=backbone("vit"))).eval()
    tokens = model.geometry.tokens(PATCHES)
    images = batch()["pixel_values"]
    with torch.no_grad(), record_object_attention(tokens, 1) as exact:
        model(images)
    with (
        torch.no_grad(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        record_object_attention(tokens, 1) as recorded,
    ):
        model(images)
    for mass, expected in zip(recorded.mass, exact.mass):
        assert mass.dtype == torch.float32
        torch.testing.assert_close(mass.sum(-1), torch.ones(3, 4, 2))
        torch.testing.assert_close(mass, expected, atol=1e-2, rtol=0)


def test_threads_do_not_mix(backbone, batch):
    model = RelViTModel(RelViTConfig(backbone_config=backbone("siglip_vision_model"))).eval()
    images = batch()["pixel_values"]
    jobs = [model.geometry.tokens(PATCHES.roll(i, 0)[:, : 1 + i % 2]) for i in range(6)]

    def run(tokens):
        with torch.no_grad(), record_object_attention(tokens, 0) as recorded:
            model(images)
        return torch.stack(recorded.mass)

    expected = [run(tokens) for tokens in jobs]
    found: list = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def work(i):
        start.wait()
        for _ in range(5):
            found[i] = run(jobs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(expected, found):
        assert torch.equal(a, b)


def test_clear_errors(backbone, batch):
    model = RelViTModel(RelViTConfig(backbone_config=backbone("vit"))).eval()
    images, tokens = batch()["pixel_values"], model.geometry.tokens(PATCHES)

    def record(tokens):
        with record_object_attention(tokens, 1):
            model(images)

    with pytest.raises(RelViTError, match="object tokens for 2 images, attention for 3"):
        record(tokens[:2])
    with pytest.raises(RelViTError, match="object token 20 in a sequence of 17"):
        record(torch.full((3, 1, 1), 20))
    with pytest.raises(RelViTError, match=r"expected \(batch, objects, tokens\)"):
        record(tokens[0])
    model.set_attn_implementation("sdpa")
    with pytest.raises(RelViTError, match=r"call model.set_attn_implementation\('relvit'\)"):
        record(tokens)
