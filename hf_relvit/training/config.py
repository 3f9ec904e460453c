"""The settings of a training run: one dataclass, and the presets that fill it."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..errors import RelViTError, nearest
from ..geometry import geometry
from ..limits import MOST_ROWS
from ..stimuli.distribution import SceneDistribution
from ..stimuli.objects import ObjectSet
from ..stimuli.scenes import check_scenes
from ..stimuli.splits import Split
from ..stimuli.styles import open_objects
from .arguments import FREE, MAY_CHANGE, check_extra, unknown_key

Schedule = Literal[
    "cosine",
    "linear",
    "constant",
    "constant_with_warmup",
    "reduce_lr_on_plateau",
    "exponential",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "greedy",
]
"""Trainer's schedules, and the exponential one of the official sweep, which Trainer lacks."""

WITHOUT_WARMUP = ("constant", "reduce_lr_on_plateau", "exponential", "greedy")

_OLD_SCHEDULES = {"plateau": "reduce_lr_on_plateau", "constant": "constant_with_warmup"}

LORA_RATE = 3e-4
"""Learning rate of adapters unless another is named; our choice. They start at zero change, and need more than weights
that were published."""

COUNT = Meta(ge=1, le=MOST_ROWS)
LIMITS = {
    "combinations": COUNT,
    "images": COUNT,
    "n_train": COUNT,
    "n_eval": COUNT,
    "batch_size": COUNT,
    "evaluations": COUNT,
    "learning_rate": Meta(gt=0),
    "weight_decay": Meta(ge=0),
    "warmup_steps": Meta(ge=0),
    "max_grad_norm": Meta(ge=0),
    "seed": Meta(ge=0, lt=2**32),
}
"""Ranges of the settings that are numbers. They are not part of the annotations, which the command line reads too."""


def vit(layers: int, hidden: int, heads: int) -> dict:
    """A ViT from scratch; image and patch size come from the scenes.

    The initial weights have the spread 0.7 / sqrt(hidden). With transformers' 0.02, which suits 768 dimensions, a
    small ViT stays at guessing: it did not learn the task from 60,000 images, and does from 20,000 with this one.
    """
    return dict(
        initializer_range=round(0.7 / hidden**0.5, 3),
        model_type="vit",
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )


@dataclass(frozen=True)
class TrainConfig:
    """One training run. docs/paper_index.md sets each value beside the paper's."""

    task: str = "discrimination"
    """Name of the task: such as "discrimination" or "rmts"."""
    geometry: str = "quick"
    """Name of the scene geometry, sizes of image and patches: b16, b14, b32, b16small, small, quick or mini;
    with "-free" behind it objects stand at any pixel, with "-posed" in any scale and turn, too."""
    combinations: int = 128
    """Training combinations of shape and color."""
    objects: str | None = None
    """Folder of masks of your own; ours by default."""
    palette: str | None = None
    """JSON file of colors of your own; ours by default."""
    style: str | None = None
    """Of the objects, such as arrows; ours by default."""
    backbone: str | dict = dataclasses.field(default_factory=lambda: vit(6, 128, 4))
    """Folder or Hub id of a pretrained model, or the config of one to train from scratch."""
    readout: Literal["cls", "mean", "cls_mean", "map"] | None = None
    """Features that the classifier reads; the family's own by default."""
    lora: int | None = None
    """Rank of adapters (LoRA) on attention and MLP of a pretrained backbone, which itself stays as published and is
    not saved; by default all weights learn."""
    disentanglement: dict | None = None
    """Arguments of the disentanglement loss, such as {layer: 3}; without any, no such loss."""
    pipeline: dict | None = None
    """Arguments of the pipeline loss, such as {within_object: [0, 1], within_pair: [2, 3]}; without any, no such loss.
    With shuffled: true the seed deals the listed blocks to the stages. See docs/how_to/steer_attention.md."""
    pipeline_share: float | None = None
    """Scale the pipeline loss at each step so that its gradient has this share of the norms, such as 0.5; by default
    its weight decides."""
    images: int = 64_000
    """Images seen in training, a multiple of the batch size after rounding up."""
    fresh: bool = True
    """Every image seen once; otherwise `n_train` images, again and again."""
    n_train: int = 6_400
    """Size of the training set if it is not fresh; else images per epoch, where a schedule or loss counts epochs."""
    n_eval: int = 1_024
    """Images in each evaluation split."""
    batch_size: int = 128
    """Images per step, over all processes."""
    learning_rate: float = 5e-4
    """Peak of AdamW's learning rate."""
    weight_decay: float = 0.01
    """AdamW's."""
    lr_scheduler_type: Schedule = "cosine"
    """Trainer's schedule of the learning rate ("reduce_lr_on_plateau" watches validation accuracy), or "exponential":
    times 0.95 per epoch."""
    warmup_steps: int = 200
    """Steps of linear warm-up, in schedules that have one."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; 0 for none."""
    evaluations: int = 8
    """Evaluations during training."""
    eval_splits: list[Split] = dataclasses.field(default_factory=lambda: ["validation"])
    """Splits that these evaluations cover; "validation" must be one."""
    load_best_model_at_end: bool = False
    """Keep the checkpoint of the best validation accuracy instead of the last."""
    bf16: bool | None = None
    """bf16 autocast; by default where the device computes in it."""
    gradient_checkpointing: bool = False
    """Less memory for more time."""
    compile: bool = False
    """Compile the blocks, for speed on a GPU; the last digits differ."""
    seed: int = 0
    """Of the weights, the scenes and their order."""
    report_to: str = "none"
    """Any tracker of transformers' Trainer."""
    trainer: dict | None = None
    """Further arguments of transformers' TrainingArguments, such as {adam_beta2: 0.98}; docs/trainer_arguments.md."""

    def __post_init__(self):
        for name, hint in _limited_hints().items():
            check_value(name, getattr(self, name), hint)
        if "validation" not in self.eval_splits:
            raise RelViTError(
                f"eval_splits {self.eval_splits}: expected a list with 'validation' in it"
            )
        if self.warmup_steps and self.lr_scheduler_type in WITHOUT_WARMUP:
            raise RelViTError(
                f"warmup_steps {self.warmup_steps} with lr_scheduler_type {self.lr_scheduler_type}, which has no "
                "warm-up: set warmup_steps to 0, or choose constant_with_warmup or cosine"
            )
        if self.lora is not None and self.lora < 1:
            raise RelViTError(f"lora {self.lora}: expected a rank of at least 1")
        if self.lora is not None and not isinstance(self.backbone, str):
            raise RelViTError(
                f"lora {self.lora} with a backbone from scratch: adapters need a pretrained one; name its folder or "
                "Hub id, or leave lora out"
            )
        if self.trainer is not None:
            check_extra(self.trainer)
        self._check_pipeline()
        check_scenes(self.task, geometry(self.geometry), self.n_eval, self.seed)

    def _check_pipeline(self) -> None:
        share = self.pipeline_share
        if share is not None and self.pipeline is None:
            raise RelViTError(f"pipeline_share {share} without a pipeline: leave it out")
        if share is not None and not 0 < share < 1:
            raise RelViTError(
                f"pipeline_share {share}: expected a share between 0 and 1, such as 0.5"
            )
        epochs = self.images / self.n_train
        starts = (self.pipeline or {}).get("start_epoch") or {}
        for stage, start in starts.items():
            if isinstance(start, int | float) and start >= epochs:
                raise RelViTError(
                    f"pipeline.start_epoch {start:g} of {stage}: expected less than {epochs:g}, the epochs of "
                    f"{self.n_train:,} images of this training"
                )

    def open_objects(self) -> ObjectSet:
        """The shapes and colors that the settings name."""
        return open_objects(self.objects, self.palette, self.style)

    def distribution(self) -> SceneDistribution:
        """Where the scenes of the run come from."""
        return SceneDistribution(
            self.task, geometry(self.geometry), self.combinations, self.open_objects(), self.seed
        )

    @property
    def styled_geometry(self) -> str:
        """The head of a config of a data set, such as "quick" or "arrows-quick"."""
        return self.geometry if self.style is None else f"{self.style}-{self.geometry}"

    @property
    def steps(self) -> int:
        return -(-self.images // self.batch_size)

    @property
    def evaluated(self) -> int:
        """Images in all evaluations together."""
        return self.evaluations * self.n_eval * len(self.eval_splits)

    @property
    def uses_n_train(self) -> bool:
        """Whether the number of training images, or of images per epoch, makes a difference."""
        pipeline = self.pipeline or {}
        counted = pipeline.get("start_epoch") or pipeline.get("stop_epoch")
        return not self.fresh or self.lr_scheduler_type == "exponential" or bool(counted)

    @property
    def extra(self) -> dict[str, Any]:
        """The further arguments of TrainingArguments."""
        return dict(self.trainer or {})

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON; an option that runs of older versions lack stands there only if it is used."""
        values = dataclasses.asdict(self)
        for name in ("compile", "trainer", "lora", "pipeline_share", "style"):
            if not values[name]:
                del values[name]
        return values


@functools.cache
def _limited_hints() -> dict[str, Any]:
    """The type of each setting, with its range."""
    hints: dict[str, Any] = typing.get_type_hints(TrainConfig)
    for name, limit in LIMITS.items():
        hints[name] = Annotated[hints[name], limit]
    return hints


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raise RelViTError, one line, unless a setting has the type and the range of its annotation."""
    try:
        msgspec.convert(value, hint, strict=True)
    except msgspec.ValidationError as error:
        raise RelViTError(f"{name} {value!r}: {_expected(value, hint, str(error))}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise RelViTError(f"{name} {value}: expected a finite number")


def _expected(value: Any, hint: Any, reason: str) -> str:
    choices = [choice for part in (hint, *typing.get_args(hint)) for choice in _choices(part)]
    if choices:
        return f"expected one of {', '.join(choices)}{nearest(value, choices)}"
    if isinstance(value, str) and ("`int`" in reason or "`float`" in reason):
        return "expected a number (YAML reads 1e-4 as text: write 1.0e-4)"
    return reason[0].lower() + reason[1:].replace("`", "")


def _choices(hint: Any) -> list[str]:
    return list(typing.get_args(hint)) if typing.get_origin(hint) is Literal else []


def upgrade(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by today's names; those of older versions have their own.

    Args:
        settings: of a file of any version: ``schedule`` was ours for ``lr_scheduler_type``, and ``best`` for
            ``load_best_model_at_end``.

    Raises:
        RelViTError: a setting by its old and its new name.
    """
    values = dict(settings)
    for old, new in {"schedule": "lr_scheduler_type", "best": "load_best_model_at_end"}.items():
        if old not in values:
            continue
        if new in values:
            raise RelViTError(f"{old} and {new} are the same setting: leave {old} out")
        values[new] = values.pop(old)
        if old == "schedule":
            schedule = values[new]
            if isinstance(schedule, str):
                values[new] = _OLD_SCHEDULES.get(schedule, schedule)
            if values[new] in WITHOUT_WARMUP:  # it never had any, whatever warmup_steps said
                values["warmup_steps"] = 0
    return values


def comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of a run, by today's names, those that its trained weights depend on."""
    values = {key: value for key, value in upgrade(settings).items() if key not in MAY_CHANGE}
    extra = values.pop("trainer", None) or {}
    kept = {name: value for name, value in extra.items() if name not in FREE}
    return values | ({"trainer": kept} if kept else {})


_PAPER: dict[str, Any] = dict(
    combinations=256,
    images=6_400 * 200,
    fresh=False,
    n_eval=6_400,
    learning_rate=1e-6,
    lr_scheduler_type="reduce_lr_on_plateau",
    warmup_steps=0,
    max_grad_norm=0.0,
    evaluations=200,
    eval_splits=["validation", "test", "test_ood_shape", "test_ood_color", "test_ood_shape_color"],
)
_PIPELINE_8 = dict(within_object=[0, 1, 2], within_pair=[3, 4], between_pair=[5, 6], heads=[0, 1])

PRESETS = {
    "quick": TrainConfig(),
    "quick-rmts": TrainConfig(
        task="rmts",
        combinations=32,
        backbone=vit(8, 128, 4),
        disentanglement=dict(layer=3),
        pipeline=_PIPELINE_8,
        images=171_000,
        learning_rate=1e-3,
    ),
    "small": TrainConfig(
        geometry="small", combinations=256, backbone=vit(8, 256, 8), images=128_000
    ),
    "adapters": TrainConfig(
        geometry="b16",
        combinations=256,
        backbone="openai/clip-vit-base-patch16",
        lora=8,
        images=3_840,
        n_eval=256,
        batch_size=32,
        learning_rate=LORA_RATE,
        warmup_steps=20,
        evaluations=4,
    ),  # our choice: a published model of CLIP's size in half an hour on two CPU cores
    "b16": TrainConfig(geometry="b16", backbone="openai/clip-vit-base-patch16", **_PAPER),
    "b14": TrainConfig(geometry="b14", backbone="facebook/dinov2-base", **_PAPER),
    "b32": TrainConfig(geometry="b32", backbone="openai/clip-vit-base-patch32", **_PAPER),
}
"""Settings by the name of the preset; docs/paper_index.md sets each beside the paper's."""


def resolve(
    preset: str = "quick", settings: Mapping[str, Any] | None = None, **overrides
) -> TrainConfig:
    """A preset, changed by settings (where None is a value), changed by keywords (those that are not None).

    Raises:
        RelViTError: unknown preset or key (the nearest one is named).
    """
    if preset not in PRESETS:
        names = ", ".join(PRESETS)
        raise RelViTError(
            f"unknown preset {preset!r}: expected one of {names}{nearest(preset, PRESETS)}"
        )
    values = upgrade(settings or {})
    values |= {key: value for key, value in overrides.items() if value is not None}
    known = [field.name for field in dataclasses.fields(TrainConfig)]
    for key in values:
        if key not in known:
            raise unknown_key(key, known)
    if values.get("lora"):
        values.setdefault("learning_rate", LORA_RATE)
    config = dataclasses.replace(PRESETS[preset], **values)
    if "n_train" in values and not config.uses_n_train:
        raise RelViTError(
            f"n_train {config.n_train} with fresh scenes, none of which is seen twice: set fresh to false "
            "(--no-fresh), or leave n_train out; images is the number of those seen"
        )
    return config


def read_yaml(file: Path) -> dict:
    """The mapping in a YAML file; RelViTError if it is missing or something else."""
    import yaml

    try:
        values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RelViTError(
            f"{file} cannot be read as YAML ({' '.join(str(error).split())}): fix or remove it"
        ) from error
    if not isinstance(values, dict):
        raise RelViTError(f"{file} holds {type(values).__name__}: expected `key: value` lines")
    return values
