"""What a training run is: one dataclass, and the presets that fill it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RelViTError
from ..geometry import geometry
from ..stimuli.distribution import SceneDistribution
from ..stimuli.objects import ObjectSet, open_objects

SCHEDULES = ("cosine", "constant", "plateau", "exponential")


def vit(layers: int, hidden: int, heads: int) -> dict:
    """A ViT from scratch; image and patch size come from the scenes.

    The initial weights have the spread 0.7 / sqrt(hidden). With transformers' 0.02, which suits 768 dimensions, a
    small ViT stays at guessing: 60,000 images did not teach it what 20,000 do with this one.
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
    """"discrimination" or "rmts"."""
    geometry: str = "quick"
    """Name of the scene geometry."""
    combinations: int = 128
    """Training combinations of shape and color."""
    objects: str | None = None
    """Folder of masks of your own; ours by default."""
    palette: str | None = None
    """JSON file of colors of your own; ours by default."""
    backbone: str | dict = dataclasses.field(default_factory=lambda: vit(6, 128, 4))
    """Folder or Hub id of a pretrained model, or the config of one to train from scratch."""
    readout: str | None = None
    """"cls", "mean", "cls_mean" or "map"; the family's own by default."""
    disentanglement: dict | None = None
    """Arguments of the disentanglement loss; none by default."""
    pipeline: dict | None = None
    """Arguments of the pipeline loss; none by default."""
    images: int = 64_000
    """Images seen in training, a multiple of the batch size after rounding up."""
    fresh: bool = True
    """Every image seen once; otherwise `n_train` images, again and again."""
    n_train: int = 6_400
    """Size of the training set if it is not fresh."""
    n_eval: int = 1_024
    """Images in each evaluation split."""
    batch_size: int = 128
    """Images a step, over all processes."""
    learning_rate: float = 5e-4
    """Peak of AdamW's learning rate."""
    weight_decay: float = 0.01
    """AdamW's."""
    schedule: str = "cosine"
    """"cosine" to 0, "constant", "plateau" (on validation accuracy) or "exponential" (x 0.95 an epoch)."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; 0 for none."""
    evaluations: int = 8
    """Evaluations during training."""
    eval_splits: list[str] = dataclasses.field(default_factory=lambda: ["validation"])
    """Splits that these evaluations cover; "validation" must be one."""
    best: bool = False
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

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise RelViTError(
                f"unknown schedule {self.schedule!r}: expected one of {', '.join(SCHEDULES)}"
            )
        if "validation" not in self.eval_splits:
            raise RelViTError(
                f"eval_splits {self.eval_splits}: expected a list with 'validation' in it"
            )
        for name in ("images", "n_train", "n_eval", "batch_size", "evaluations", "learning_rate"):
            if getattr(self, name) <= 0:
                raise RelViTError(f"{name} {getattr(self, name)}: expected a positive number")

    def open_objects(self) -> ObjectSet:
        """The shapes and colors that the settings name."""
        return open_objects(self.objects, self.palette)

    def distribution(self) -> SceneDistribution:
        """Where the scenes of the run come from."""
        return SceneDistribution(
            self.task, geometry(self.geometry), self.combinations, self.open_objects(), self.seed
        )

    @property
    def steps(self) -> int:
        return -(-self.images // self.batch_size)

    def to_dict(self) -> dict:
        values = dataclasses.asdict(self)
        if not self.compile:
            del values["compile"]  # runs from before this option are still the same runs
        return values


_PAPER = dict(
    combinations=256,
    images=6_400 * 200,
    fresh=False,
    n_eval=6_400,
    learning_rate=1e-6,
    schedule="plateau",
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
    "b16": TrainConfig(geometry="b16", backbone="openai/clip-vit-base-patch16", **_PAPER),
    "b14": TrainConfig(geometry="b14", backbone="facebook/dinov2-base", **_PAPER),
    "b32": TrainConfig(geometry="b32", backbone="openai/clip-vit-base-patch32", **_PAPER),
}


def resolve(
    preset: str = "quick", settings: Mapping[str, Any] | None = None, **overrides
) -> TrainConfig:
    """A preset, changed by settings (where None is a value), changed by keywords (those that are not None).

    Raises:
        RelViTError: unknown preset or key (the nearest one is named).
    """
    if preset not in PRESETS:
        raise RelViTError(
            f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}{_nearest(preset, PRESETS)}"
        )
    values = dict(settings or {})
    values |= {key: value for key, value in overrides.items() if value is not None}
    known = {field.name: field for field in dataclasses.fields(TrainConfig)}
    for key, value in values.items():
        if key not in known:
            raise unknown_key(key, known)
        default = getattr(PRESETS[preset], key)
        numeric = isinstance(default, (int, float)) and not isinstance(default, bool)
        if numeric and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise RelViTError(
                f"{key} {value!r}: expected a number (YAML reads 1e-4 as text: write 1.0e-4)"
            )
    return dataclasses.replace(PRESETS[preset], **values)


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


def unknown_key(key: str, known: Iterable[str]) -> RelViTError:
    """The error for a key that is none of the known ones."""
    return RelViTError(
        f"unknown key {key!r}{_nearest(key, known)}; the keys are: {', '.join(known)}"
    )


def _nearest(key: str, known) -> str:
    close = difflib.get_close_matches(str(key), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
