"""What a user does with an ordinary transformers classifier does the same with ours, or is refused in one line."""

import contextlib
import copy
import inspect
import io
import logging
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModelForImageClassification, PreTrainedModel

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling import FAMILIES, RelViTConfig, RelViTForImageClassification, RelViTModel
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.evaluation import evaluate

IMAGES = torch.linspace(-1, 1, 3 * 3 * 32 * 32).view(3, 3, 32, 32)
LABELS = torch.tensor([0, 1, 1])
FAILS = "an error"
OURS_DIFFERS = {("clip_vision_model", "from_pretrained without its head"): ["classifier.weight"]}
for _family, _tokens in {"clip_vision_model": 17, "siglip_vision_model": 16}.items():
    OURS_DIFFERS |= {
        (_family, "base_model"): True,
        (_family, "from_pretrained(output_hidden_states)"): [(3, _tokens, 32)] * 3,
        (_family, "from_pretrained(output_attentions)"): [(3, 4, _tokens, _tokens)] * 2,
        (_family, "from_pretrained(output_attentions) alone"): [(3, 4, _tokens, _tokens)] * 2,
    }
"""CLIP's head has no bias, as in the paper; the classifiers of both have no base and forget what they were told."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
    # of torch.export in torch 2.7, about a constant of ViT-MAE
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node"),
    pytest.mark.filterwarnings("ignore:Node .*lifted_tensor"),
]


def pair(family, backbone):
    """A model of ours and an ordinary classifier of the family, of the same sizes."""
    sizes = {"num_register_tokens": 0} if family == "dinov3_vit" else {}  # ViT's stands in
    tower = backbone(family, **sizes)
    ours = RelViTForImageClassification(RelViTConfig(backbone_config=tower)).eval()
    names = list(FAMILIES[family].plain.values()) or ["ViTForImageClassification"]
    name = next(each for each in reversed(names) if each.endswith("ForImageClassification"))
    plain_class = getattr(transformers, name)
    kind = plain_class.config_class
    own = kind.model_type == family or "vision_config" in kind.sub_configs
    config = backbone(family if own else "vit", num_labels=2)
    if "vision_config" in kind.sub_configs:
        config = kind(vision_config=config.to_dict(), num_labels=2)
    return ours, plain_class(config).eval()


def shapes(values):
    return None if values is None else [tuple(each.shape) for each in values]


def again(case, **keywords):
    return type(case.model).from_pretrained(case.saved, **keywords).eval()


def logits(model, images=IMAGES):
    return model(images).logits


def same_logits(case, other):
    return torch.equal(logits(case.model), logits(other))


def in_type(case, dtype):
    model = copy.deepcopy(case.model).to(dtype)
    return logits(model, IMAGES.to(dtype)).dtype, model.dtype


def in_eager(case):
    return again(case, attn_implementation="eager")


def files(case, **keywords):
    case.model.save_pretrained(case.empty, **keywords)
    code = (".py",)  # ours brings its own, for where the package is not installed
    return sorted(path.name for path in case.empty.iterdir() if path.suffix not in code)


def checkpointed(case):
    model = copy.deepcopy(case.model)
    model.gradient_checkpointing_enable()
    model.train()(IMAGES).logits.sum().backward()
    learned = [name for name, each in model.named_parameters() if each.grad is not None]
    enabled = model.is_activation_checkpointing
    restored = pickle.loads(pickle.dumps(model)).eval()
    same = same_logits(case, restored)
    model.gradient_checkpointing_disable()
    return bool(learned), enabled, same, model.is_activation_checkpointing


def exported(case):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        case.model,
        (),
        kwargs={"pixel_values": IMAGES[:2]},
        dynamic_shapes={"pixel_values": {0: batch}},
        strict=False,
    )
    five = torch.cat([IMAGES, IMAGES[:2]])
    found = program.module()(pixel_values=five).logits
    torch.testing.assert_close(found, logits(case.model, five), atol=1e-4, rtol=1e-4)
    return tuple(found.shape)


def saved_in_shards(case):
    case.model.save_pretrained(case.empty, max_shard_size="20KB")
    shards = list(case.empty.glob("model-*-of-*.safetensors"))
    return len(shards) > 1, same_logits(case, type(case.model).from_pretrained(case.empty).eval())


def loss_and_order(case):
    output = case.model(IMAGES, labels=LABELS)
    expected = nn.functional.cross_entropy(output.logits, LABELS)
    first, second = case.model(IMAGES, labels=LABELS, return_dict=False)[:2]
    return (
        torch.allclose(output.loss, expected),
        torch.equal(first, output.loss),
        torch.equal(second, output.logits),
    )


def with_input_gradients(case):
    model = copy.deepcopy(case.model).train()
    model.enable_input_require_grads()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    output = model(IMAGES).logits
    model.disable_input_require_grads()
    return output.requires_grad


def loading_info(case):
    _, info = type(case.model).from_pretrained(case.saved, output_loading_info=True)
    return {key: sorted(value) for key, value in info.items() if isinstance(value, set | list)}


def lost_head(case):
    state = {k: v for k, v in case.model.state_dict().items() if not k.startswith("classifier")}
    case.model.save_pretrained(case.empty, state_dict=state)
    _, info = type(case.model).from_pretrained(case.empty, output_loading_info=True)
    return sorted(info["missing_keys"])


def misshapen_head(case):
    wide = copy.deepcopy(case.model)
    wide.classifier = nn.Linear(wide.classifier.in_features, 5)
    wide.save_pretrained(case.empty)
    kind = type(case.model)
    _, info = kind.from_pretrained(
        case.empty,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        config=copy.deepcopy(case.model.config),
    )
    return [key for key, *_ in info["mismatched_keys"] if key == "classifier.weight"]


def attention_switched(case):
    model = copy.deepcopy(case.model)
    model.set_attn_implementation("eager")
    close = torch.allclose(logits(model), logits(case.model), atol=1e-5)
    return close, shapes(model(IMAGES, output_attentions=True).attentions)


def evaluation_mode(case):
    model = copy.deepcopy(case.model)
    modes = (model.train().training, model.eval().training)
    with torch.no_grad():
        return modes, logits(model).requires_grad


ACTIONS = {
    "forward": lambda case: tuple(logits(case.model).shape),
    "forward by name": lambda case: tuple(case.model(pixel_values=IMAGES).logits.shape),
    "forward(labels)": loss_and_order,
    "forward(output_hidden_states)": lambda case: shapes(
        case.model(IMAGES, output_hidden_states=True).hidden_states
    ),
    "forward(output_hidden_states=False)": lambda case: (
        case.model(IMAGES, output_hidden_states=False).hidden_states
    ),
    "forward(output_attentions)": lambda case: shapes(
        in_eager(case)(IMAGES, output_attentions=True).attentions
    ),
    "forward(return_dict=True)": lambda case: tuple(
        case.model(IMAGES, return_dict=True).logits.shape
    ),
    "forward(return_dict=False)": lambda case: tuple(
        case.model(IMAGES, return_dict=False)[0].shape
    ),
    "forward(interpolate_pos_encoding=False)": lambda case: tuple(
        case.model(IMAGES, interpolate_pos_encoding=False).logits.shape
    ),
    "forward(interpolate_pos_encoding=True)": lambda case: tuple(
        case.model(IMAGES, interpolate_pos_encoding=True).logits.shape
    ),
    "from_pretrained": lambda case: same_logits(case, again(case)),
    "from_pretrained by the auto class": lambda case: same_logits(
        case, AutoModelForImageClassification.from_pretrained(case.saved).eval()
    ),
    "from_pretrained(dtype)": lambda case: again(case, dtype=torch.bfloat16).dtype,
    "from_pretrained(dtype=auto)": lambda case: again(case, dtype="auto").dtype,
    "from_pretrained(output_hidden_states)": lambda case: shapes(
        again(case, output_hidden_states=True)(IMAGES).hidden_states
    ),
    "from_pretrained(output_attentions)": lambda case: shapes(
        again(case, output_attentions=True, attn_implementation="eager")(IMAGES).attentions
    ),
    "from_pretrained(output_attentions) alone": lambda case: shapes(
        again(case, output_attentions=True)(IMAGES).attentions
    ),
    "from_pretrained(return_dict=False)": lambda case: type(again(case, return_dict=False)(IMAGES)),
    "from_pretrained(device_map)": lambda case: same_logits(case, again(case, device_map="cpu")),
    "from_pretrained(attn_implementation)": lambda case: torch.allclose(
        logits(in_eager(case)), logits(case.model), atol=1e-5
    ),
    "from_pretrained(num_labels)": lambda case: again(case, num_labels=2).num_labels,
    "from_pretrained(use_safetensors)": lambda case: same_logits(
        case, again(case, use_safetensors=True)
    ),
    "from_pretrained(low_cpu_mem_usage)": lambda case: same_logits(
        case, again(case, low_cpu_mem_usage=True)
    ),
    "from_pretrained(config)": lambda case: same_logits(
        case, again(case, config=copy.deepcopy(case.model.config))
    ),
    "from_pretrained(output_loading_info)": loading_info,
    "from_pretrained without its head": lost_head,
    "from_pretrained(ignore_mismatched_sizes)": misshapen_head,
    "save_pretrained": files,
    "save_pretrained(variant)": lambda case: files(case, variant="fp16"),
    "save_pretrained(is_main_process=False)": lambda case: files(case, is_main_process=False),
    "save_pretrained(max_shard_size)": saved_in_shards,
    "half": lambda case: in_type(case, torch.float16),
    "bfloat16": lambda case: in_type(case, torch.bfloat16),
    "double": lambda case: in_type(case, torch.float64),
    "pickle": lambda case: same_logits(case, pickle.loads(pickle.dumps(case.model))),
    "torch.save": lambda case: torch.save(case.model, io.BytesIO()),
    "deepcopy": lambda case: same_logits(case, copy.deepcopy(case.model)),
    "gradient checkpointing": checkpointed,
    "torch.export": exported,
    "train, eval, no_grad": evaluation_mode,
    "set_attn_implementation": attention_switched,
    "enable_input_require_grads": with_input_gradients,
    "get_input_embeddings": lambda case: isinstance(case.model.get_input_embeddings(), nn.Module),
    "get_output_embeddings": lambda case: case.model.get_output_embeddings(),
    "resize_token_embeddings": lambda case: case.model.resize_token_embeddings(99),
    "resize_position_embeddings": lambda case: case.model.resize_position_embeddings(99),
    "num_parameters": lambda case: case.model.num_parameters() > 20_000,
    "get_memory_footprint": lambda case: (
        case.model.get_memory_footprint() >= 4 * case.model.num_parameters()
    ),
    "dtype, device": lambda case: (case.model.dtype, case.model.device),
    "main_input_name": lambda case: case.model.main_input_name,
    "can_generate": lambda case: case.model.can_generate(),
    "num_labels": lambda case: (case.model.num_labels, case.model.config.num_labels),
    "base_model": lambda case: case.model.base_model is not case.model,
    "add_model_tags": lambda case: copy.deepcopy(case.model).add_model_tags(["mine"]),
    "tie_weights": lambda case: case.model.tie_weights(),
    "init_weights": lambda case: copy.deepcopy(case.model).init_weights(),
    "is_backend_compatible": lambda case: case.model.is_backend_compatible(),
    "loss_function": lambda case: callable(case.model.loss_function),
    "dummy_inputs": lambda case: sorted(case.model.dummy_inputs),
}


def outcome(action, model, saved, empty):
    case = SimpleNamespace(model=model, saved=saved, empty=empty)
    try:
        return action(case)
    except RelViTError as error:
        assert "\n" not in str(error)
        raise
    except Exception:
        return FAILS


@pytest.fixture
def both(family, backbone, tmp_path):
    models = pair(family, backbone)
    folders = []
    for name, model in zip(("ours", "plain"), models):
        for part in ("saved", "empty"):
            (tmp_path / name / part).mkdir(parents=True)
        model.save_pretrained(tmp_path / name / "saved")
        folders.append(tmp_path / name)
    return [(model, where / "saved", where / "empty") for model, where in zip(models, folders)]


@pytest.mark.long
def test_what_works_with_the_ordinary_class_works_with_ours(family, both, subtests):
    for name, action in ACTIONS.items():
        with subtests.test(name):
            for _, _, empty in both:
                for path in empty.iterdir():
                    path.unlink()
            ours, plain = (outcome(action, *each) for each in both)
            expected = OURS_DIFFERS.get((family, name), plain)
            if plain == FAILS and ours != FAILS:
                continue  # what the ordinary class cannot do
            assert ours == expected


REFUSED = {
    "num_labels": (lambda case: again(case, num_labels=3), "checkpoint labels are"),
    "id2label": (
        lambda case: again(case, id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1}),
        "checkpoint labels are",
    ),
    "the other order": (
        lambda case: again(case, id2label={0: "same", 1: "different"}),
        "checkpoint labels are",
    ),
    "another size": (
        lambda case: case.model(torch.zeros(1, 3, 48, 48), interpolate_pos_encoding=True),
        "set image_size in RelViTConfig",
    ),
    "attention maps of sdpa": (
        lambda case: case.model(IMAGES, output_attentions=True),
        r"set_attn_implementation\('eager'\)",
    ),
    "readout": (lambda case: again(case, readout="map"), "readout 'map' for backbone vit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_ours_does_not_do_is_one_line(tmp_path, backbone, name):
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit"))).eval()
    model.save_pretrained(tmp_path)
    action, message = REFUSED[name]
    with pytest.raises(RelViTError, match=message) as error:
        action(SimpleNamespace(model=model, saved=tmp_path))
    assert "\n" not in str(error.value)


PUBLIC = {
    name
    for name, method in vars(PreTrainedModel).items()
    if not name.startswith("_") and inspect.isfunction(method)
}


@pytest.mark.parametrize("name", sorted(PUBLIC))
@pytest.mark.parametrize("kind", [RelViTModel, RelViTForImageClassification])
def test_methods_take_what_the_library_passes(kind, name):
    """A method of ours under the library's name takes all of its arguments, by the same names."""
    theirs = inspect.signature(getattr(PreTrainedModel, name)).parameters
    ours = inspect.signature(getattr(kind, name)).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in ours.values()):
        return
    assert list(theirs) == list(ours)


def test_forward_takes_the_keywords_of_the_ordinary_class():
    """But for the mask, which half of the families do not have."""
    theirs = inspect.signature(transformers.ViTForImageClassification.forward).parameters
    named = {name for name, each in theirs.items() if each.kind is not each.VAR_KEYWORD}
    for kind in (RelViTModel, RelViTForImageClassification):
        ours = set(inspect.signature(kind.forward).parameters)
        without = {"attention_mask"} | ({"labels"} if kind is RelViTModel else set())
        assert named - ours == without


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's compiler
def test_a_compiled_model_gives_the_same_logits(backbone):
    ours, _ = pair("vit", backbone)
    compiled = torch.compile(ours, backend="eager")
    torch.testing.assert_close(logits(compiled), logits(ours))


def test_half_precision_is_evaluated(family, backbone):
    tower = backbone(family, image_size=64)
    model = RelViTForImageClassification(RelViTConfig(backbone_config=tower)).eval()
    scenes = SceneDistribution("discrimination", GEOMETRIES["quick"], 128).sample("test", 16)
    processor = PixelProcessor(default_processor(64), 64)
    tables = [
        evaluate(Checkpoint(copy.deepcopy(model).to(dtype), processor), {"test": scenes})
        for dtype in (torch.float32, torch.bfloat16)
    ]
    exact, half = (table["auc"].to_numpy(float) for table in tables)
    np.testing.assert_allclose(half, exact, atol=0.15)


class Heard(logging.Handler):
    """Keeps what the library says."""

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


@contextlib.contextmanager
def heard():
    handler = Heard()
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        yield handler.said
    finally:
        logger.removeHandler(handler)


def test_a_backbone_without_what_nobody_uses_opens_without_a_report(family, both):
    """An ordinary classifier has no pooler, and its head is not wanted: neither is worth a word."""
    _, (_, saved, _) = both
    with heard() as said:
        RelViTForImageClassification.from_backbone(saved)
    assert not [text for text in said if "MISSING" in text or "UNEXPECTED" in text]
