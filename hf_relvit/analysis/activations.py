"""Named places in a vision transformer: read them, edit them, and run the model from there on.

Symbols: b block of ``depth``; h_b ``(n, tokens, hidden)``, the residual stream after it; L logits.

1. A ``Site`` names h before or after a block.
2. ``capture_residuals`` runs scenes once and keeps h at the asked sites and tokens, in memory or on disk; blocks after
   the last site are not run.
3. ``patch`` edits h at a site while the model runs: L of a full pass with the edit.
4. ``forward_from`` starts at a site with a given h: L without the blocks before. So n edits of one scene cost one full
   pass and n partial ones, with the same answers.

Nothing here knows a model family. Blocks are the ``ModuleList`` that is as long as the configuration says the model is
deep, and hooks do the rest, so our classifiers and ordinary transformers models are treated alike. Hooks belong to the
model: do not run one model from two threads inside these functions.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..doors import check_choice
from ..errors import RelViTError
from ..geometry import PatchGeometry
from ..limits import check_count, check_finite
from ..modeling.blocks import blocks, vision_config
from ..modeling.checkpoints import Checkpoint
from ..modeling.finite import FiniteWatch
from ..modeling.processing import to_device
from ..progress import batches
from ..stimuli.distribution import SceneDistribution
from ..stimuli.own_pictures import OwnPictures
from ..stimuli.scenes import SceneTable
from .choices import Compat

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, order=True)
class Site:
    """A place in the model, the same for reading and for writing.

    ``Site("resid_post", L)`` is the residual stream after block L (L from 0), ``hidden_states[L + 1]``. The official
    code of the paper probed the input of a block and wrote to its output; one name for one place prevents that.

    Raises:
        RelViTError: another kind, or a negative layer.
    """

    kind: str
    layer: int

    def __post_init__(self):
        if isinstance(self.layer, np.integer):  # of a table, or of np.arange
            object.__setattr__(self, "layer", int(self.layer))
        if self.kind != "resid_post" or not isinstance(self.layer, int) or self.layer < 0:
            raise RelViTError(
                f"site {self.kind!r}, {self.layer!r}: expected 'resid_post' and a block, counted from 0"
            )

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"


def capture(
    model: nn.Module,
    pixel_values: Float[torch.Tensor, "batch 3 height width"],
    sites: Iterable[Site],
) -> dict[Site, Float[torch.Tensor, "batch tokens hidden"]]:
    """Residual streams of one forward pass, which ends with the deepest site: later blocks are skipped.

    Args:
        model: in evaluation mode.
        pixel_values: ``(batch, 3, height, width)``, normalized by the model's processor.
        sites: which; edits made by :func:`patch` at the same site are included.

    Returns:
        ``(batch, tokens, hidden)`` each, on the model's device and in its dtype, with gradients if they are enabled.

    Raises:
        RelViTError: a layer that the model does not have.
    """
    sites = list(sites)
    layers = blocks(model)
    found: dict[Site, torch.Tensor] = {}
    deepest = max((site.layer for site in sites), default=-1)
    later = layers[deepest + 1 :]
    with ExitStack() as stack:
        for site in sites:
            record = partial(_record, found, site)
            hook = _block(layers, site).register_forward_hook(record)
            stack.callback(hook.remove)
        stack.enter_context(replaced_forward(later, _nothing))
        model(pixel_values=pixel_values)
    return found


def _nothing(hidden, *args, **kwargs):
    """The forward function of a block that does nothing."""
    return hidden


def _record(
    found: dict[Site, torch.Tensor],
    site: Site,
    module,
    args,
    output,
) -> None:
    found[site] = output


def forward_from(
    model: nn.Module, site: Site, residual: Float[torch.Tensor, "batch tokens hidden"]
) -> Float[torch.Tensor, "batch classes"]:
    """Logits of a model whose residual stream at ``site`` is ``residual``; earlier blocks are not computed.

    Equal to the last bit to the full forward pass that ``residual`` was captured from, at the same batch size.
    Differentiable. The images are not needed: blocks up to the site return ``residual``, whatever their input, so a
    single blank image stands for the batch and even the embeddings cost next to nothing.

    Args:
        model: a classifier in evaluation mode, for images of the size in its configuration.
        site: where to start.
        residual: ``(batch, tokens, hidden)``, on the model's device.

    Returns:
        ``(batch, classes)``.

    Raises:
        RelViTError: a layer that the model does not have, or a residual stream of another width.
    """
    layers = blocks(model)
    _block(layers, site)
    config = vision_config(model)
    if residual.shape[-1] != config.hidden_size:
        raise RelViTError(
            f"a residual stream of width {residual.shape[-1]} for a model of width {config.hidden_size}: "
            "capture it from this model"
        )
    side = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
    dtype = next(model.parameters()).dtype
    blank = residual.new_zeros(1, 3, side, side, dtype=dtype)
    earlier = layers[: site.layer + 1]
    with replaced_forward(earlier, lambda *args, **kwargs: residual):
        output = model(pixel_values=blank)
    # CLIP with its projection as head has image_embeds
    return output.logits if "logits" in output else output.image_embeds


@contextmanager
def patch(
    model: nn.Module, site: Site, edit: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """While the context is open, ``edit`` replaces the residual stream at ``site`` in every forward pass.

    Args:
        model: any.
        site: where.
        edit: from ``(batch, tokens, hidden)`` to the same shape.

    Raises:
        RelViTError: a layer that the model does not have.
    """

    def edited(module, args, output):
        return edit(output)

    # prepend: the hooks behind output_hidden_states are permanent once used, and would hide the edit from it
    hook = _block(blocks(model), site).register_forward_hook(edited, prepend=True)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def capture_residuals(
    checkpoint: Checkpoint,
    scenes: SceneTable | OwnPictures,
    sites: Sequence[Site],
    *,
    tokens: Int[torch.Tensor, "scenes positions *more"] | None = None,
    batch_size: int = 64,
    cache_gb: float = 4.0,
    folder: str | os.PathLike | None = None,
    bf16: bool = False,
    progress: bool = False,
) -> dict[Site, Float[torch.Tensor, "scenes kept hidden"]]:
    """Residual streams of many scenes at many sites, in one forward pass over the scenes.

    Args:
        checkpoint: its model is put in evaluation mode.
        scenes: ``n`` scenes of the model's geometry.
        sites: which.
        tokens: int64 ``(n, q)``, sequence indices to keep in each scene; all by default. Or ``(n, k, p)``: the means
            of k objects of at most p tokens are kept, -1 ignored.
        batch_size: does not change the result beyond rounding.
        cache_gb: memory of the model's device for the result, in 10^9 bytes; of a GPU at most 0.7 of its free memory.
            Sites beyond it are memory-mapped from unnamed files, which vanish with the result or the process.
        folder: where these files are; the system's folder for temporary files by default, which on some systems is
            itself in memory.
        bf16: multiply matrices in bfloat16, as mixed training does; the residual stream stays in float32.
        progress: show a bar.

    Returns:
        ``(n, tokens or q or k, hidden)`` each, in the model's dtype, on its device; on the CPU if memory-mapped.

    Raises:
        RelViTError: scenes of another geometry, a processor that the model was not trained with, a layer that the
            model does not have, states that are not finite, or a full disk.
    """
    model = checkpoint.model
    checkpoint.check(scenes)
    check_count("batch_size", batch_size, least=1)
    length = checkpoint.geometry.sequence_length if tokens is None else tokens.shape[1]
    shape = (len(scenes), length, model.config.hidden_size)
    cache = _allocated(model, sites, shape, cache_gb, folder)
    device = checkpoint.device
    deepest = max(sites, default=None)
    watch = FiniteWatch(f"states at {deepest}")
    model.eval()
    label = f"activations, {scenes.split}"
    for rows in batches(len(scenes), batch_size, label, progress):
        pixels = checkpoint.pixel_values(scenes[rows])
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            captured = capture(model, pixels, sites)
        for site, hidden in captured.items():
            if tokens is not None:
                wanted = to_device(tokens[rows], device)
                hidden = kept_states(hidden, wanted)
            if site == deepest:  # later blocks keep what is not finite
                watch.see(hidden)
            cache[site][rows] = hidden
    watch.check()
    return cache


def _allocated(
    model: Any,
    sites: Sequence[Site],
    shape: tuple[int, ...],
    cache_gb: float,
    folder: str | os.PathLike | None,
) -> dict[Site, torch.Tensor]:
    """Room for states: in memory as long as there is some, then on disk."""
    check_finite("cache_gb", cache_gb, 0)
    first = next(model.parameters())
    budget = cache_gb * 1e9
    if first.is_cuda:
        free, _ = torch.cuda.mem_get_info(first.device)
        budget = min(budget, 0.7 * free)
    size = math.prod(shape) * first.element_size()
    cache = {}
    for site in sites:
        _block(blocks(model), site)
        if size <= budget:
            budget -= size
            cache[site] = torch.empty(shape, dtype=first.dtype, device=first.device)
        else:
            cache[site] = _on_disk(shape, first.dtype, folder)
    return cache


def object_tokens(
    geometry: PatchGeometry, scenes: SceneTable | OwnPictures
) -> Int[torch.Tensor, "scenes positions *more"]:
    """The tokens that are read of scenes, for ``kept_states``.

    Returns:
        int64 ``(n, k * p)`` where every object has p tokens; else ``(n, k, p)``, -1 beyond those of an object.
    """
    tokens = torch.from_numpy(geometry.tokens(scenes.patches()))
    return tokens.flatten(1) if tokens.shape[2] == scenes.tokens_per_object else tokens


def kept_states(
    hidden: Float[torch.Tensor, "batch tokens hidden"],
    tokens: Int[torch.Tensor, "batch positions *more"],
) -> Float[torch.Tensor, "batch kept hidden"]:
    """Some tokens, or the means of some objects; see ``capture_residuals``."""
    if tokens.ndim == 2:
        return at_tokens(hidden, tokens)
    means = [object_mean(hidden, of_object) for of_object in tokens.unbind(1)]
    return torch.stack(means, 1)


def at_tokens(
    residual: Float[torch.Tensor, "batch tokens hidden"],
    tokens: Int[torch.Tensor, "batch positions"],
) -> Float[torch.Tensor, "batch positions hidden"]:
    """``(batch, q, hidden)``: the positions ``tokens (batch, q)`` of each ``(batch, tokens, hidden)`` sequence."""
    return residual.gather(1, tokens[..., None].expand(-1, -1, residual.shape[-1]))


def object_mean(
    hidden: Float[torch.Tensor, "batch tokens hidden"],
    tokens: Int[torch.Tensor, "batch positions"],
) -> Float[torch.Tensor, "batch hidden"]:
    """Mean of some tokens of each image: ``(batch, tokens, hidden)``, indices ``(batch, p)``, -1 ignored."""
    known = (tokens >= 0)[..., None]
    there = known.to(hidden.dtype)
    rows = tokens.clamp(min=0)[..., None]
    picked = hidden.gather(1, rows.expand(-1, -1, hidden.shape[-1]))
    total = (picked * there).sum(1)
    count = there.sum(1).clamp(min=1)
    return total / count


def _block(
    layers: nn.ModuleList,
    site: Site,
) -> nn.Module:
    if site.layer >= len(layers):
        raise RelViTError(
            f"site {site}: the model has blocks 0 to {len(layers) - 1}; choose one of them"
        )
    return layers[site.layer]


@contextmanager
def replaced_forward(
    modules: Iterable[nn.Module],
    forward: Callable,
) -> Iterator[None]:
    """Modules that run ``forward`` in place of their own; their hooks still fire."""
    before = [(module, vars(module).get("forward")) for module in modules]
    try:
        for module, _ in before:
            module.forward = forward
        yield
    finally:
        for module, own in before:
            del module.forward
            if own is not None:  # another library's wrapper, set on the instance
                module.forward = own


def _on_disk(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    folder,
) -> torch.Tensor:
    """A tensor in an unnamed file; its memory pages belong to the operating system."""
    size = math.prod(shape) * dtype.itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # a disk that fills up later would kill the process without a word
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            memory = np.memmap(file, dtype=np.uint8, mode="w+", shape=(size,))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.ENOENT):
            raise
        raise RelViTError(
            f"no room for {size / 1e9:.1f} GB of activations in {folder or tempfile.gettempdir()} ({error.strerror}): "
            "free some space, choose another folder, or take fewer scenes or layers"
        ) from error
    return torch.from_numpy(memory).view(dtype).view(shape)


@dataclass(frozen=True, eq=False)
class ObjectStates:
    """Object tokens of scenes at some layers, captured once for any number of probes.

    Attributes:
        scenes: ``SceneTable``, ``n`` scenes with k objects of p tokens; or ``OwnPictures``, or scenes with freely
            placed objects, which differ in their number of tokens.
        states: by layer, ``(n, k * p, hidden)``; of the latter the means of the objects, ``(n, k, hidden)``.
        compat: "corrected", the outputs of the blocks; "official", their inputs.
    """

    scenes: Any
    states: dict[int, torch.Tensor]
    compat: str


def capture_object_states(
    checkpoint: Checkpoint,
    scenes: SceneTable | OwnPictures,
    layers: Sequence[int] | None = None,
    *,
    compat: Compat = "corrected",
    cache_gb: float = 4.0,
    bf16: bool = False,
    progress: bool = False,
) -> ObjectStates:
    """Read the object tokens of scenes in one pass.

    Args:
        layers: which; all by default.
        compat: see ObjectStates.
        checkpoint, cache_gb, bf16, progress: as in ``activations.capture_residuals``.

    Raises:
        RelViTError: scenes of another geometry, a layer that the model does not have, an unknown compat.
    """
    check_choice("compat", compat, Compat)
    parts = checkpoint.blocks
    geometry = checkpoint.geometry
    layers = list(range(len(parts))) if layers is None else layers
    if not len(layers):
        raise RelViTError("layers []: name blocks from 0, or leave them out for all")
    options: dict[str, Any] = {"cache_gb": cache_gb, "bf16": bf16, "progress": progress}

    tokens = object_tokens(geometry, scenes)

    def read(blocks: Iterable[int]) -> dict[int, torch.Tensor]:
        """Outputs of blocks."""
        sites = [Site("resid_post", block) for block in blocks]
        read_states = capture_residuals(checkpoint, scenes, sites, tokens=tokens, **options)
        return {site.layer: states for site, states in read_states.items()}

    if compat == "corrected":
        return ObjectStates(scenes, read(layers), compat)
    before = [layer - 1 for layer in layers if layer > 0]
    inputs = {block + 1: states for block, states in read(before).items()}
    if 0 in layers:  # the input of block 0 is the output of a block 0 that does nothing
        with replaced_forward(parts[:1], _nothing):
            inputs[0] = read([0])[0]
    return ObjectStates(scenes, inputs, compat)


class SceneCaptures:
    """Object states of the scenes of a distribution, captured when first asked for and kept.

    Args:
        checkpoint: whose model is read.
        distribution: of the scenes.
        layers: which; all by default.
        compat: see ObjectStates.
        cache_gb: memory for each set of scenes; the rest is on disk.
        bf16: as in ``activations.capture_residuals``.
        progress: show bars.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        distribution: SceneDistribution,
        layers: Sequence[int] | None = None,
        *,
        compat: Compat = "corrected",
        cache_gb: float = 4.0,
        bf16: bool = False,
        progress: bool = False,
    ):
        self.checkpoint = checkpoint
        self.distribution = distribution
        self.layers = layers
        self.options: dict[str, Any] = {"compat": compat, "cache_gb": cache_gb}
        self.options.update(bf16=bf16, progress=progress)
        self._cached = cache(self._capture)

    def get(self, split: str, n: int) -> ObjectStates:
        """The states of ``n`` scenes of a split."""
        return self._cached(split, n)

    def _capture(self, split: str, n: int) -> ObjectStates:
        scenes = self.distribution.sample(split, n)
        return capture_object_states(self.checkpoint, scenes, self.layers, **self.options)
