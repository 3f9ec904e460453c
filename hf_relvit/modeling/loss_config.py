"""Which auxiliary losses a model is trained with."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
from transformers import PreTrainedConfig

from ..errors import RelViTError

STAGES = ("within_object", "within_pair", "between_pair")
Target = Literal["objects", "random_tokens", "sharp"]
TARGETS: tuple[str, ...] = get_args(Target)


@dataclass(frozen=True)
class Disentanglement:
    """The disentanglement loss (paper, section on failure modes; details from the official training code).

    Args:
        layer: index into the hidden states: 0 is the embeddings, k is the output of block k - 1.
        weight: factor of the loss; the paper uses 1.
        control: probe the object identity (shape and color together) on the whole embedding instead of shape and
            color on its halves; the official code's control.
        n_shapes: shapes that have a class; tokens of other shapes (out of distribution) do not count.
        n_colors: likewise.
    """

    layer: int
    weight: float = 1.0
    control: bool = False
    n_shapes: int = 16
    n_colors: int = 16

    def check(self, backbone: PreTrainedConfig) -> None:
        _check_indices(
            "disentanglement.layer",
            [self.layer],
            backbone.num_hidden_layers + 1,
            "a hidden state index",
        )
        if backbone.hidden_size % 2 and not self.control:
            raise RelViTError(
                f"hidden size {backbone.hidden_size} is odd: halves need an even one, or control=True"
            )


@dataclass(frozen=True)
class Pipeline:
    """The attention pipeline loss (paper, section on failure modes; the layers and heads that it used are not known).

    Args:
        within_object: blocks (0 is the first) in which object tokens should attend to their own object.
        within_pair: blocks in which they should attend to the other object of their pair.
        between_pair: blocks in which they should attend to the other pair; relational match-to-sample only.
        heads: heads that the loss acts on, all by default.
        weight: factor of the loss; the paper uses 1.
        exclude_prefix: leave attention to CLS and other prefix tokens out of the proportions, so that it is free.
            Our choice, from trials in which RMTS was learned from scratch; ``False`` is the paper's proportion of
            all mass.
        start_epoch: stage -> epoch from which it counts, 0 by default.
        stop_epoch: stage -> epoch from which it no longer counts, never by default.
        target: "objects", the paper's. Controls of ours: "random_tokens" forces the attention to as many tokens of the
            background in place of each object, see ``losses.background_targets``; "sharp" wants low entropy in all
            blocks of the stages, wherever the attention goes.
    """

    within_object: tuple[int, ...] = ()
    within_pair: tuple[int, ...] = ()
    between_pair: tuple[int, ...] = ()
    heads: tuple[int, ...] | None = None
    weight: float = 1.0
    exclude_prefix: bool = True
    start_epoch: Mapping[str, float] = field(default_factory=dict)
    stop_epoch: Mapping[str, float] = field(default_factory=dict)
    target: Target = "objects"

    def check(self, backbone: PreTrainedConfig) -> None:
        for stage in STAGES:
            _check_indices(
                f"pipeline.{stage}", getattr(self, stage), backbone.num_hidden_layers, "a block"
            )
        if not any(getattr(self, stage) for stage in STAGES):
            raise RelViTError(
                f"pipeline names no blocks: expected at least one of {', '.join(STAGES)}, e.g. [0, 1]"
            )
        if self.heads is not None:
            if not self.heads:
                raise RelViTError(
                    "pipeline.heads is empty: expected head indices, or None for all heads"
                )
            _check_indices("pipeline.heads", self.heads, backbone.num_attention_heads, "a head")
        for name in ("start_epoch", "stop_epoch"):
            for stage in getattr(self, name):
                if stage not in STAGES:
                    raise RelViTError(
                        f"pipeline.{name} names stage {stage!r}: expected one of {', '.join(STAGES)}"
                    )
        for stage, stop in self.stop_epoch.items():
            start = self.start_epoch.get(stage, 0)
            if stop <= start:
                raise RelViTError(
                    f"pipeline.stop_epoch {stop:g} of {stage}, which starts at epoch {start:g}: expected a later one"
                )

    @property
    def staged(self) -> bool:
        """Whether a stage starts or stops, so that the loss depends on the epoch."""
        return bool(self.start_epoch or self.stop_epoch)

    def stages(self, epoch: float | None = None) -> dict[str, tuple[int, ...]]:
        """The stages that count at an epoch, with their blocks; all of them without one."""
        return {
            stage: getattr(self, stage)
            for stage in STAGES
            if getattr(self, stage)
            and (
                epoch is None
                or self.start_epoch.get(stage, 0)
                <= epoch
                < self.stop_epoch.get(stage, float("inf"))
            )
        }


def parse_loss(cls: type, values: Any, name: str, backbone: PreTrainedConfig) -> dict[str, Any]:
    """A loss specification from a dictionary, checked against the backbone, completed and fit for JSON.

    Raises:
        RelViTError: an unknown key (the nearest one is named), or layers or heads that the backbone does not have.
    """
    if not isinstance(values, Mapping):
        raise RelViTError(
            f"{name} is {values!r}: expected a dictionary such as {{'layer': 2}} or None"
        )
    known = [f.name for f in fields(cls)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise RelViTError(f"unknown key {key!r} in {name}: {hint}")
    try:
        spec = cls(**values)
    except TypeError as error:
        raise RelViTError(f"{name} {dict(values)}: {error}; see {cls.__name__}") from None
    for each in fields(cls):
        value = getattr(spec, each.name)
        fits, expected = _TYPES[str(each.type)]
        if not fits(value):
            raise RelViTError(f"{name}.{each.name} is {value!r}: expected {expected}")
    spec.check(backbone)
    return {key: _plain(value) for key, value in asdict(spec).items()}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_amount(value: Any) -> bool:
    is_number = _is_integer(value) or isinstance(value, float | np.floating)
    return is_number and 0 <= float(value) < float("inf")


def _is_list(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(map(_is_integer, value))


def _is_schedule(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_amount, value.values()))


_TYPES = {
    "int": (_is_integer, "an integer"),
    "float": (_is_amount, "a finite number of at least 0"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "tuple[int, ...]": (_is_list, "a list of integers, e.g. [0, 1]"),
    "tuple[int, ...] | None": (
        lambda value: value is None or _is_list(value),
        "a list of integers",
    ),
    "Target": (lambda value: value in TARGETS, f"one of {', '.join(TARGETS)}"),
    "Mapping[str, float]": (_is_schedule, "an epoch for a stage, e.g. {within_pair: 2}"),
}
"""Annotation of a field -> whether a value fits it, and its words. By hand, as saved models carry this file."""


def _plain(value: Any) -> Any:
    """A value fit for JSON: lists for sequences, Python's integers for numpy's."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, np.integer):
        return int(value)
    return value


def _check_indices(name: str, values, end: int, what: str) -> None:
    for value in values:
        if not isinstance(value, int | np.integer) or not 0 <= value < end:
            raise RelViTError(f"{name} contains {value!r}: expected {what} between 0 and {end - 1}")
