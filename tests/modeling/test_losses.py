import math

import pytest
import torch
from torch import nn
from transformers import ViTConfig

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import Disentanglement, DisentanglementHeads, Pipeline, pipeline_loss
from hf_relvit.modeling.loss_config import parse_loss
from hf_relvit.modeling.losses import background_targets, sharpness_loss


def masses(rows, heads=1):
    """One image's mass ``(1, heads, k, k + 3)`` from rows over objects, CLS, registers and background."""
    return torch.tensor(rows)[None, None].expand(1, heads, -1, -1)


DISCRIMINATION = masses(
    [
        [0.4, 0.1, 0.2, 0.0, 0.3],  # object 1: itself, object 2, CLS, registers, background
        [0.3, 0.2, 0.4, 0.1, 0.0],
    ]
)
RMTS = masses(
    [
        [0.10, 0.20, 0.05, 0.15, 0.5, 0.0, 0.0],
        [0.20, 0.10, 0.25, 0.05, 0.0, 0.0, 0.4],
        [0.30, 0.10, 0.20, 0.10, 0.0, 0.2, 0.1],
        [0.00, 0.10, 0.30, 0.40, 0.2, 0.0, 0.0],
    ]
)


@pytest.mark.parametrize(
    ("stage", "exclude_prefix", "score"),
    [
        ("within_object", False, (0.4 + 0.2) / 2),
        ("within_pair", False, (0.1 + 0.3) / 2),
        ("within_object", True, (0.4 / 0.8 + 0.2 / 0.5) / 2),
        ("within_pair", True, (0.1 / 0.8 + 0.3 / 0.5) / 2),
    ],
)
def test_discrimination_by_hand(stage, exclude_prefix, score):
    spec = Pipeline(**{stage: (0,)}, exclude_prefix=exclude_prefix)
    assert pipeline_loss([DISCRIMINATION], spec).item() == pytest.approx(-math.log(score), rel=1e-6)


@pytest.mark.parametrize(
    ("stage", "score"),
    [
        ("within_object", (0.10 + 0.10 + 0.20 + 0.40) / 4),
        ("within_pair", (0.20 + 0.20 + 0.10 + 0.30) / 4),
        ("between_pair", (0.05 + 0.15 + 0.25 + 0.05 + 0.30 + 0.10 + 0.00 + 0.10) / 4),
    ],
)
def test_rmts_by_hand(stage, score):
    spec = Pipeline(**{stage: (0,)}, exclude_prefix=False)
    assert pipeline_loss([RMTS], spec).item() == pytest.approx(-math.log(score), rel=1e-6)


def test_mean_over_blocks_of_all_stages_heads_and_images():
    mass = torch.rand(4, 2, 3, 4, 7).softmax(-1)  # blocks, images, heads
    spec = Pipeline(
        within_object=(0, 1),
        within_pair=(2,),
        between_pair=(3,),
        heads=(0, 2),
        exclude_prefix=False,
    )
    terms = []
    for stage, block in [
        ("within_object", 0),
        ("within_object", 1),
        ("within_pair", 2),
        ("between_pair", 3),
    ]:
        for image in range(2):
            for head in (0, 2):
                one = Pipeline(**{stage: (0,)}, exclude_prefix=False)
                terms.append(pipeline_loss([mass[block, image : image + 1, head : head + 1]], one))
    torch.testing.assert_close(pipeline_loss(list(mass), spec), torch.stack(terms).mean())


def test_only_stages_of_the_epoch_count():
    spec = Pipeline(within_object=(0,), within_pair=(1,), stop_epoch={"within_object": 3})
    mass = [DISCRIMINATION, DISCRIMINATION]
    first, second = (
        pipeline_loss(mass[:1], Pipeline(**{s: (0,)})) for s in ("within_object", "within_pair")
    )
    torch.testing.assert_close(pipeline_loss(mass, spec, epoch=2.5), (first + second) / 2)
    torch.testing.assert_close(pipeline_loss([None, DISCRIMINATION], spec, epoch=3), second)


def test_loss_reaches_zero_and_ignores_absent_objects():
    perfect = masses([[1.0, 0, 0, 0, 0], [0.0, 1, 0, 0, 0]])
    assert pipeline_loss([perfect], Pipeline(within_object=(0,))) == 0
    display = torch.zeros(1, 1, 4, 7)
    display[..., :2, 2:4] = 0.5
    display[..., 2:, :2] = 0.5
    assert pipeline_loss([display], Pipeline(between_pair=(0,))) == 0
    absent = perfect.clone()
    absent[:, :, 1] = 0
    assert pipeline_loss([absent], Pipeline(within_object=(0,))) == 0


def test_between_pair_of_one_pair_is_an_error():
    with pytest.raises(RelViTError, match="train it on the rmts task, or leave between_pair empty"):
        pipeline_loss([DISCRIMINATION], Pipeline(between_pair=(0,)))


def heads_and_states(control=False):
    heads = DisentanglementHeads(
        Disentanglement(layer=1, control=control, n_shapes=3, n_colors=5), 8
    )
    hidden = torch.randn(2, 10, 8)
    tokens = torch.tensor([[[1, 2], [5, 6]], [[3, 4], [9, -1]]])
    shape, color = torch.tensor([[0, 2], [1, 1]]), torch.tensor([[4, 0], [2, 3]])
    return heads, hidden, tokens, shape, color


def by_hand(heads, hidden, tokens, shape, color, what):
    """Cross-entropy of each object token on its own."""
    terms = []
    for image, objects in enumerate(tokens.tolist()):
        for o, positions in enumerate(objects):
            s, c = shape[image, o], color[image, o]
            for position in positions:
                state = hidden[image, position]
                logits, target = {
                    "shape": (heads.shape(state[:4]) if what == "shape" else None, s),
                    "color": (heads.color(state[4:]) if what == "color" else None, c),
                    "object": (heads.object(state) if what == "object" else None, s * 5 + c),
                }[what]
                known = {"shape": s < 3, "color": c < 5, "object": s < 3 and c < 5}[what]
                if position >= 0 and known:
                    terms.append(nn.functional.cross_entropy(logits, target))
    return torch.stack(terms).mean()


def test_disentanglement_by_hand():
    case = heads_and_states()
    torch.testing.assert_close(
        case[0](*case[1:]), by_hand(*case, "shape") + by_hand(*case, "color")
    )


def test_control_reads_identity_from_the_whole_embedding():
    case = heads_and_states(control=True)
    assert case[0].object.weight.shape == (15, 8)
    torch.testing.assert_close(case[0](*case[1:]), by_hand(*case, "object"))


def test_objects_without_a_class_do_not_count():
    heads, hidden, tokens, shape, color = heads_and_states()
    shape[0, 1] = 3  # out of distribution
    case = (heads, hidden, tokens, shape, color)
    torch.testing.assert_close(heads(*case[1:]), by_hand(*case, "shape") + by_hand(*case, "color"))
    nothing = heads(hidden, tokens, torch.full_like(shape, 9), torch.full_like(color, 9))
    assert nothing == 0 and nothing.requires_grad


def test_halves_receive_their_own_gradients_only():
    heads, hidden, tokens, shape, color = heads_and_states()
    hidden.requires_grad_()
    heads(hidden, tokens, shape, torch.full_like(color, 9)).backward()
    assert hidden.grad[..., :4].any() and not hidden.grad[..., 4:].any()
    assert not hidden.grad[0, [0, 3, 4, 7, 8, 9]].any()


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_background_targets_are_other_tokens_of_the_same_numbers(prefix):
    patches = torch.tensor([[[0, 1], [8, 9]], [[14, 15], [20, -1]], [[0, 1], [8, 9]]])
    tokens = torch.where(patches >= 0, patches + prefix, -1)
    targets = background_targets(tokens, 36 + prefix, prefix)
    assert torch.equal(targets >= 0, tokens >= 0)
    for own, drawn in zip(tokens, targets):
        kept = drawn[drawn >= 0]
        assert len(kept.unique()) == len(kept) and kept.min() >= prefix
        assert not torch.isin(kept, own).any()
    assert torch.equal(targets[0], targets[2])  # objects in the same places
    assert torch.equal(targets[:1], background_targets(tokens[:1], 36 + prefix, prefix))


def test_background_targets_are_spread_over_the_background():
    places = torch.stack([torch.randperm(196)[:8] for _ in range(2_000)]).view(2_000, 2, 4)
    drawn = background_targets(places + 1, 197, 1) - 1
    counts = torch.bincount(drawn.flatten(), minlength=196)
    assert counts.min() > 40 and counts.max() < 130  # 82 on average


def test_too_few_background_tokens_are_an_error():
    tokens = torch.arange(10).view(1, 2, 5)
    with pytest.raises(RelViTError, match="16 patches with 10 of objects leave too few"):
        background_targets(tokens, 16, 0)


def test_sharpness_is_the_mean_entropy_over_all_listed_blocks():
    entropy = [torch.rand(2, 3, 4) for _ in range(4)]
    spec = Pipeline(within_object=(0, 2), within_pair=(2,), heads=(1,), target="sharp")
    wanted = torch.stack([entropy[0][:, 1], entropy[2][:, 1]]).mean()
    torch.testing.assert_close(sharpness_loss(entropy, spec), wanted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "anything"}, "pipeline.target is 'anything': expected one of objects, random"),
        (
            {"start_epoch": {"within_object": 3}, "stop_epoch": {"within_object": 2}},
            "pipeline.stop_epoch 2 of within_object, which starts at epoch 3: expected a later one",
        ),
    ],
)
def test_settings_that_mean_nothing_are_errors(settings, message):
    backbone = ViTConfig(num_hidden_layers=4)
    with pytest.raises(RelViTError, match=message):
        parse_loss(Pipeline, {"within_object": [0], **settings}, "pipeline", backbone)
