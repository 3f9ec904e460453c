"""A subspace that carries a property: swap it, attach it to any transformers model, save it and open it again.

Symbols: x ``(..., hidden)``, states at a site; R ``(k, hidden)``, rows that are read; W ``(k, hidden)``, rows that are
written, by default R; m ``(k,)``, which rows count; c, the scale.

1. Read: the coordinates ``m R x``, ``(..., size)``.
2. Swap: ``b + c W^T[m R (s - b)]`` gives the base b the coordinates of the source s and leaves the rest of b alone.
3. Attach: the same write inside a model while it runs, at the tokens of objects.
4. Save with the fingerprint of the model; opened again, it refuses every other model.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn

from ..errors import RelViTError
from ..modeling.adapters import weights_fingerprint
from ..modeling.blocks import blocks
from ..modeling.checkpoints import Checkpoint, Pictured
from ..stimuli.counterfactuals import PROPERTIES
from .activations import Site, at_tokens, capture, patch
from .interchange import intervene
from .result import Contents, Result
from .subspaces import interchange, random_rotation

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8
    from matplotlib.figure import Figure


ROUNDING = 1e-2
"""How far rows may be from orthonormal: those of 128 dimensions were, by .0014, once rounded to bfloat16."""


@dataclass(frozen=True, eq=False)
class Alignment(Result):
    """A subspace of the residual stream at one site that is held to carry one property of an object.

    Example, with any transformers classifier that has the weights it was found on::

        color = Alignment.load("folder or Hub id")
        source = color.read(checkpoint, source_scenes, source_tokens)      # (batch, p, hidden)
        with color.attach(model, base_tokens, source):
            logits = model(pixel_values=base_pixels).logits                # as if the object had the source's color

    Tokens are sequence indices int64 ``(batch, p)`` of one object: ``geometry.tokens(scenes.patches())[:, j]``.

    Attributes:
        rotation: float32 ``(k, hidden)``, the rows that are read, orthonormal; k = hidden for a full rotation.
        mask: bool ``(k,)``: the rows that span the subspace.
        site: where.
        property: "shape" or "color".
        method: how it was found.
        model: fingerprint of the weights of the block at the site; None fits any model of this width.
        facts: config, training history, provenance.
        write: float32 ``(k, hidden)``, the rows that an oblique alignment writes; ``rotation @ write.T`` is 1, and
            ``rotation`` need not be orthonormal. None where the rows that are read are written.
        scale: of the swap; above 1 it overshoots the source's coordinates.

    Raises:
        RelViTError: shapes that do not fit, rows that are not orthonormal, or that do not read their own writing.
    """

    TITLE: ClassVar[str] = "alignment"
    STEM: ClassVar[str] = "alignment"
    TENSORS: ClassVar[bool] = True
    EXAMPLE: ClassVar[str] = "das/color-2"

    rotation: torch.Tensor
    mask: torch.Tensor
    site: Site
    property: str
    method: str = "das"
    model: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    write: torch.Tensor | None = None
    scale: float = 1.0

    def __post_init__(self):
        rows = self.rotation
        if rows.dim() != 2 or self.mask.shape != rows.shape[:1] or self.mask.dtype != torch.bool:
            raise RelViTError(
                f"rotation {tuple(rows.shape)} and {self.mask.dtype} mask {tuple(self.mask.shape)}: "
                "expected (k, hidden) and bool (k,)"
            )
        if not self.rows_written.shape == rows.shape:
            raise RelViTError(
                f"{tuple(rows.shape)} rows to read, {tuple(self.rows_written.shape)} to write: expected as many"
            )
        with torch.autocast(rows.device.type, enabled=False):  # a caller may run its model in bf16
            products = rows @ self.rows_written.T
        if not torch.allclose(products, torch.eye(len(rows)), atol=ROUNDING):
            fault = "of the rotation are not orthonormal"
            if self.write is not None:
                fault = "that are read do not give the coordinates that are written"
            raise RelViTError(f"the rows {fault}: save or fit the alignment again")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise RelViTError(f"scale {self.scale}: expected a number above 0")
        if self.property not in PROPERTIES:
            raise RelViTError(
                f"unknown property {self.property!r}: expected one of {', '.join(PROPERTIES)}"
            )

    @cached_property
    def width(self) -> int:
        """Of the residual stream."""
        return self.rotation.shape[1]

    @cached_property
    def size(self) -> int:
        """Dimensions of the subspace."""
        return int(self.mask.sum())

    @cached_property
    def basis(self) -> Float[torch.Tensor, "size hidden"]:
        """The rows that are read, float32 ``(size, hidden)``; orthonormal unless the alignment is oblique."""
        return self.rotation[self.mask]

    @cached_property
    def rows_written(self) -> Float[torch.Tensor, "k hidden"]:
        """The rows that are written, float32 ``(k, hidden)``."""
        return self.rotation if self.write is None else self.write

    @cached_property
    def write_basis(self) -> Float[torch.Tensor, "size hidden"]:
        """The rows that are written and in the subspace, float32 ``(size, hidden)``."""
        return self.rows_written[self.mask]

    def compact(self) -> Alignment:
        """The same swap from the rows of the subspace alone: as small a file as it can be."""
        write = None if self.write is None else self.write_basis.contiguous()
        inside = self.mask[self.mask]
        return replace(self, rotation=self.basis.contiguous(), mask=inside, write=write)

    def rounded(self, checkpoint: Checkpoint) -> Alignment:
        """The same swap in bfloat16, half as large a file, of a model whose own weights were rounded."""
        small = self.compact()
        write = None if small.write is None else small.write.bfloat16().float()
        return replace(
            small,
            rotation=small.rotation.bfloat16().float(),
            write=write,
            model=fingerprint(checkpoint.blocks[self.site.layer]),
        )

    def random_directions(self) -> Alignment:
        """A control: as many random directions at the same site, read and written. The layer is the seed."""
        generator = torch.Generator().manual_seed(self.site.layer)
        return replace(
            self,
            rotation=random_rotation(self.size, self.width, generator),
            mask=self.mask[self.mask],
            method="random_subspace",
            facts={},
            write=None,
            scale=1.0,
        )

    def encode(
        self, states: Float[torch.Tensor, "*leading hidden"]
    ) -> Float[torch.Tensor, "*leading size"]:
        """Coordinates in the subspace: ``(..., hidden)`` to ``(..., size)``."""
        return states @ self.basis.T.to(states)

    def swap(
        self,
        base: Float[torch.Tensor, "*leading hidden"],
        source: Float[torch.Tensor, "*leading hidden"],
    ) -> Float[torch.Tensor, "*leading hidden"]:
        """``base`` with the source's coordinates in the subspace, times ``scale``; both ``(..., hidden)``."""
        return interchange(base, source, *self.operator(base.device))

    def read(
        self,
        checkpoint: Checkpoint,
        scenes: Pictured | UInt8[np.ndarray, "batch side side 3"],
        tokens: Int[torch.Tensor, "batch positions"],
    ) -> Float[torch.Tensor, "batch positions hidden"]:
        """States of source objects: ``(batch, p, hidden)`` at the positions ``tokens (batch, p)``.

        Args:
            checkpoint: the model, ours or an ordinary one of transformers, with its own processor.
            scenes: of the source objects; or their pictures, uint8 ``(batch, side, side, 3)``.
            tokens: int64 ``(batch, p)``, the object's tokens in each.

        Raises:
            RelViTError: another model than that of the alignment, a foreign processor, scenes of another geometry.
        """
        self.check(checkpoint.model)
        pixel_values = checkpoint.pixel_values(scenes)
        captured = capture(checkpoint.model, pixel_values, [self.site])[self.site]
        return at_tokens(captured, tokens.to(pixel_values.device))

    def attach(
        self,
        model: nn.Module,
        tokens: Int[torch.Tensor, "batch positions"],
        source: Float[torch.Tensor, "batch positions hidden"],
    ) -> AbstractContextManager[None]:
        """A context in which forward passes of ``model`` swap the property of one object an image.

        Args:
            model: a transformers vision model, in evaluation mode.
            tokens: int64 ``(batch, p)``, the object's tokens in the base images.
            source: ``(batch, p, hidden)``, from :meth:`read`, in the order of ``tokens``.

        Raises:
            RelViTError: another model than that of the alignment; operands that do not fit each other or the images.
        """
        self.check(model)
        self._check_source(tokens, source)

        def edit(residual: torch.Tensor) -> torch.Tensor:
            if len(residual) != len(tokens):
                raise RelViTError(
                    f"{len(residual)} images, tokens for {len(tokens)}: pass one row of tokens per image"
                )
            device = residual.device
            return intervene(
                residual, tokens.to(device), source.to(residual), *self.operator(device)
            )

        return patch(model, self.site, edit)

    def _check_source(self, tokens: torch.Tensor, source: torch.Tensor) -> None:
        """A state of the model's width for each of the tokens."""
        if (*tokens.shape, self.width) != tuple(source.shape):
            raise RelViTError(
                f"source states {tuple(source.shape)} for tokens {tuple(tokens.shape)}: expected "
                f"{(*tokens.shape, self.width)}; take both from objects of equally many tokens"
            )

    def operator(
        self, device: torch.device
    ) -> tuple[
        Float[torch.Tensor, "k hidden"],
        Float[torch.Tensor, " k"],
        Float[torch.Tensor, "k hidden"] | None,
    ]:
        """Input of ``interchange.intervene``, on a device: rows to read, their weights, rows to write."""
        weights = self.mask.to(device, self.rotation.dtype) * self.scale
        write = None if self.write is None else self.write.to(device)
        return self.rotation.to(device), weights, write

    def check(self, model: nn.Module) -> None:
        """Raise RelViTError unless the alignment was found on this model, or on one with the same weights."""
        cure = "use the checkpoint that it was fitted on, or fit it on this one"
        layers = blocks(model)
        if self.site.layer >= len(layers):
            raise RelViTError(
                f"an alignment at {self.site} for a model with blocks 0 to {len(layers) - 1}: {cure}"
            )
        config: Any = model.config
        width = getattr(config, "vision_config", config).hidden_size
        if width != self.width:
            raise RelViTError(
                f"an alignment of width {self.width} for a model of width {width}: {cure}"
            )
        if self.model is not None and self.model != (found := fingerprint(layers[self.site.layer])):
            raise RelViTError(
                f"an alignment for weights {self.model}, the model has {found} at {self.site}: {cure}"
            )

    def to_frame(self) -> pd.DataFrame:
        """The search: one row per epoch, ``epoch, loss, mask`` (soft size); empty where nothing was learned."""
        frame = pd.DataFrame(self.facts.get("history", []), columns=["loss", "mask"])
        frame.insert(0, "epoch", range(1, len(frame) + 1))
        return frame

    def figure(self) -> Figure:
        """Loss and size of the mask by epoch."""
        from ..figures.causal import search_figure

        return search_figure(self.to_frame())

    def contents(self) -> Contents:
        values = {name: getattr(self, name) for name in ("property", "method", "model", "facts")}
        values |= {"site": str(self.site), "width": self.width, "size": self.size}
        values["scale"] = self.scale
        tensors = {"rotation": self.rotation, "mask": self.mask}
        if self.write is not None:
            tensors["write"] = self.write
        return Contents(values, tensors=tensors)

    @classmethod
    def restore(cls, contents: Contents) -> Alignment:
        values = contents.values
        kind, _, layer = values["site"].rpartition(".")
        known = {name: values[name] for name in ("property", "method", "model", "facts")}
        tensors = contents.tensors
        return cls(
            tensors["rotation"],
            tensors["mask"],
            Site(kind, int(layer)),
            write=tensors.get("write"),
            scale=values.get("scale", 1.0),  # files of version 1.0 have none
            **known,
        )


def fingerprint(module: nn.Module) -> str:
    """16 hexadecimal digits (of a SHA-256) of a module's weights, the same on any device."""
    return weights_fingerprint(module.state_dict())
