"""Interchange interventions on pairs of scenes: whose states are read, and where they are written.

Symbols: n pairs of a base and a source, each with k objects of p tokens; h ``(n, tokens, hidden)`` at a site.

1. Capture h of all bases, and of the sources only the tokens of the objects and as many of the background.
2. ``operands``: the places of the edited object in the base, ``(n, p)``, and the states to read, ``(n, p, hidden)``:
   those of the object that gives the property or, for a control, of its pair's other object or of the background.
3. A replacement reads no object at all: the mean state, noise, or another image's state (``replaced``).
4. Write the operands, through a subspace, into h of the bases, and run the later blocks: n new answers.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from ..doors import check_choice
from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..stimuli.counterfactuals import CounterfactualTable
from ..stimuli.scenes import SceneTable
from .activations import Site, at_tokens, capture_residuals
from .subspaces import interchange

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped

Replacement = Literal["mean", "noise", "other_image"]
"""Replacements of the source object's state, so that nothing of its value is left."""
REPLACEMENTS: tuple[str, ...] = get_args(Replacement)
Control = Literal["wrong_object", "random_tokens", "mean", "noise", "other_image"]
_ENOUGH_STATES = 4096


@dataclass(frozen=True, eq=False)
class PairResiduals:
    """Residual streams of a table of pairs at some sites, captured once for any number of fits and scores.

    Attributes:
        pairs: ``n`` pairs of scenes with k objects of p tokens.
        base: per site ``(n, tokens, hidden)``.
        source: per site ``(n, k + 1, p, hidden)``: the tokens of the objects, then p of the background.
        base_tokens: int64 ``(n, k + 1, p)``, sequence indices in the base, likewise.
        unedited: the model's answers int64 ``(n,)`` to the bases as they are, once a score has asked for them; pairs
            that share their bases share it.
    """

    pairs: CounterfactualTable
    base: dict[Site, torch.Tensor]
    source: dict[Site, torch.Tensor]
    base_tokens: torch.Tensor
    unedited: list[torch.Tensor] = field(default_factory=list)

    def operands(
        self, site: Site, control: str | None = None
    ) -> tuple[Int[torch.Tensor, "pairs positions"], Float[torch.Tensor, "pairs positions hidden"]]:
        """Places to write, and states to read: tokens int64 ``(n, p)`` of the base, source ``(n, p, hidden)``.

        Args:
            site: one of those captured.
            control: None for the object that gives the property; "wrong_object" for the other one of its pair;
                "random_tokens" for random background tokens of both scenes (the official code draws from all patches;
                ours cannot hit an object); a Replacement: see ``replaced``.

        Raises:
            RelViTError: a site that was not captured, or an unknown control.
        """
        self.check(site)
        check_choice("control", control, Control | None)
        source = self.source[site]
        if control == "random_tokens":
            background = self.base_tokens[:, -1]
            return background, source[:, -1]
        rows = np.arange(len(self.pairs))
        giver = self._givers(control)
        edited = self.base_tokens[rows, self.pairs.edited]
        given = source[rows, giver]
        if control in REPLACEMENTS:
            given = replaced(given, control)
        return edited, given

    def _givers(self, control: str | None) -> np.ndarray:
        """Which object of each source is read, int64 ``(n,)``."""
        wrong = control == "wrong_object"
        return self.pairs.other_source if wrong else self.pairs.source_object

    def check(self, site: Site) -> None:
        """Raise RelViTError for a site that was not captured."""
        if site not in self.base:
            captured = ", ".join(map(str, self.base))
            raise RelViTError(f"no residuals of site {site}: captured were {captured}")

    def select(self, rows: slice) -> PairResiduals:
        """Some of the pairs; the tensors are shared."""
        pairs = self.pairs[rows]
        base = {site: states[rows] for site, states in self.base.items()}
        source = {site: states[rows] for site, states in self.source.items()}
        base_tokens = self.base_tokens[rows]
        return PairResiduals(pairs, base, source, base_tokens)

    def source_objects(self, site: Site) -> Float[torch.Tensor, "pairs objects positions hidden"]:
        """Tokens of all objects of the sources, ``(n, k, p, hidden)``."""
        return self.source[site][:, :-1]

    def base_objects(self, site: Site) -> Float[torch.Tensor, "pairs objects positions hidden"]:
        """Tokens of all objects of the bases, ``(n, k, p, hidden)``."""
        base = self.base[site]
        objects = self.base_tokens[:, :-1]
        tokens = objects.flatten(1).to(base.device)
        states = at_tokens(base, tokens)
        return states.unflatten(1, objects.shape[1:])

    def reference_states(
        self, site: Site, control: str | None = None
    ) -> Float[torch.Tensor, "states hidden"]:
        """States of objects that an intervention neither reads nor writes: ``(N, hidden)``, at most about 4096."""
        check_choice("control", control, Control | None)
        source = self.source_objects(site)
        base = self.base_objects(site)
        idle_in_source = self._all_but(self._givers(control))
        idle_in_base = self._all_but(self.pairs.edited)
        of_base = base[idle_in_base].to(source.device)
        of_source = source[idle_in_source]
        states = torch.cat([of_base, of_source])
        flat = states.flatten(0, 1)
        step = -(-len(flat) // _ENOUGH_STATES)
        return flat[::step]

    def _all_but(self, objects: np.ndarray) -> tuple[np.ndarray, ...]:
        """Index ``(scene, object)`` of the objects of each scene but one, ``objects (n,)``."""
        idle = np.ones(self.pairs.base.shape.shape, dtype=bool)
        rows = np.arange(len(idle))
        idle[rows, objects] = False
        return np.nonzero(idle)


def replaced(
    states: Float[torch.Tensor, "pairs positions hidden"], by: str
) -> Float[torch.Tensor, "pairs positions hidden"]:
    """States of objects ``(n, p, hidden)`` without the content of each: controls of an ablation.

    "mean": of all pairs, per token and dimension. "noise": normal, with that mean and the spread of the pairs, drawn
    with seed 0. "other_image": the state of the object of the next pair. The three of arXiv 2604.14433; our choice
    that each is taken over the pairs that are scored.
    """
    if by == "other_image":
        return states.roll(1, 0)
    mean = states.mean(0, keepdim=True)
    if by == "mean":
        return mean.expand_as(states)
    spread = states.std(0, correction=0, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(states.shape, generator=generator)
    return mean + spread * drawn.to(states)


def counterfactual_states(
    checkpoint: Checkpoint, pairs: CounterfactualTable, site: Site, **options: Any
) -> Float[torch.Tensor, "pairs positions hidden"]:
    """States that a swap should make: of the edited object in a scene where it has the new value.

    The scene is the base, places, jitter and noise included, with the edited object's property that of the object
    that gives it. Such an object is among the combinations of the split (``sample_counterfactuals``).

    Args:
        checkpoint, site: of the alignment.
        pairs: ``n`` pairs about its property.
        options: as in ``activations.residuals``.

    Returns:
        ``(n, p, hidden)``, in the order of the edited object's tokens.
    """
    scenes = swapped_scenes(pairs)
    rows = np.arange(len(pairs))
    edited = scenes.patches()[rows, pairs.edited]
    where = checkpoint.geometry.tokens(edited)
    captured = capture_residuals(
        checkpoint,
        scenes,
        [site],
        tokens=torch.from_numpy(where),
        **options,
    )
    return captured[site]


def swapped_scenes(pairs: CounterfactualTable) -> SceneTable:
    """The base scenes with the new value of the edited object."""
    rows = np.arange(len(pairs))
    own = getattr(pairs.base, pairs.property)
    given = getattr(pairs.source, pairs.property)
    values = own.copy()
    values[rows, pairs.edited] = given[rows, pairs.source_object]
    changed: dict[str, Any] = {pairs.property: values}
    return dataclasses.replace(pairs.base, **changed)


def capture_pair_residuals(
    checkpoint: Checkpoint,
    pairs: CounterfactualTable,
    sites: list[Site],
    *,
    batch_size: int = 64,
    cache_gb: float = 4.0,
    folder=None,
    seed: int = 0,
    base: PairResiduals | None = None,
    bf16: bool = False,
    progress: bool = False,
) -> PairResiduals:
    """Capture pairs at several sites in one pass over their scenes.

    Args:
        base: captured pairs with the same base scenes, whose states are taken instead of computed.
        seed: of the choice of background tokens.
        checkpoint, sites, batch_size, cache_gb, folder, bf16, progress: as in ``activations.capture_residuals``.

    Raises:
        RelViTError: no pairs, scenes of another geometry, a layer that the model does not have, a full disk.
    """
    if len(pairs) == 0:
        raise RelViTError("no pairs of scenes: sample at least 2")
    checkpoint.check(pairs.base)
    geometry = checkpoint.geometry
    rng = np.random.default_rng(seed)
    base_patches = _with_background(pairs.base, rng)
    source_patches = _with_background(pairs.source, rng)
    base_tokens = torch.from_numpy(geometry.tokens(base_patches))
    source_tokens = torch.from_numpy(geometry.tokens(source_patches))
    shared: dict[str, Any] = {
        "batch_size": batch_size,
        "folder": folder,
        "bf16": bf16,
        "progress": progress,
    }
    flat = capture_residuals(
        checkpoint,
        pairs.source,
        sites,
        tokens=source_tokens.flatten(1),
        cache_gb=cache_gb,
        **shared,
    )
    by_object = source_tokens.shape[1:]
    source = {site: states.unflatten(1, by_object) for site, states in flat.items()}
    if base is not None:
        return PairResiduals(pairs, base.base, source, base_tokens, base.unedited)
    used = sum(states.nbytes for states in source.values())
    left = max(0.0, cache_gb - used / 1e9)
    captured = capture_residuals(checkpoint, pairs.base, sites, cache_gb=left, **shared)
    return PairResiduals(pairs, captured, source, base_tokens)


def _with_background(scenes: SceneTable, rng: np.random.Generator) -> np.ndarray:
    """Patch ids of the objects and, after them, of as many random patches of no object: int64 ``(n, k + 1, p)``."""
    patches = scenes.patches()
    n, _, p = patches.shape
    all_patches = scenes.geometry.grid**2
    order = rng.random((n, all_patches))
    of_objects = patches.reshape(n, -1)
    np.put_along_axis(order, of_objects, np.inf, axis=1)
    shuffled = np.argsort(order, axis=1)  # those of objects are last
    background = shuffled[:, None, :p]
    return np.concatenate([patches, background], axis=1)


def intervene(
    residual: Float[torch.Tensor, "batch tokens hidden"],
    tokens: Int[torch.Tensor, "batch positions"],
    source: Float[torch.Tensor, "batch positions hidden"],
    rotation: Float[torch.Tensor, "k hidden"],
    mask: Shaped[torch.Tensor, " k"],
    write: Float[torch.Tensor, "k hidden"] | None = None,
) -> Float[torch.Tensor, "batch tokens hidden"]:
    """The residual stream ``(batch, tokens, hidden)`` after an interchange at some of its positions.

    Args:
        residual: ``(batch, tokens, hidden)``, the base's.
        tokens: int64 ``(batch, p)``, where to write.
        source: ``(batch, p, hidden)``, states to read, in the order of ``tokens``.
        rotation, mask, write: see ``subspaces.interchange``; computed in their own precision.
    """
    with torch.autocast(residual.device.type, enabled=False):
        base = at_tokens(residual, tokens)
        swapped = interchange(base, source, rotation, mask, write)
    where = tokens[..., None].expand_as(swapped)
    return residual.scatter(1, where, swapped)
