"""Is the comparison abstract? Give both objects a property value that no object ever had (paper, Fig. 4).

1. Take alignments of a property at some layers, and a bank of ``N`` objects of other scenes: the coordinates of their
   tokens in each subspace, ``e (N, p tokens, size)``.
2. Per example draw two vectors from the bank: e1 + e2 ("added"), half of that ("interpolated"), a Gaussian with the
   bank's mean and spread ("sampled"), a standard Gaussian ("random"), or e1 itself ("known", for comparison).
3. Write them into both objects of a pair, at all their tokens: one vector in both where the pair is to become same,
   two where it is to become different; and run the model from there on. Baselines write into the whole residual
   stream, or into a picture from which the pair was erased.
4. Count how often the answer is the new one. Doing nothing gives 1 - base accuracy (the floor).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..progress import progress_bar
from ..provenance import provenance
from ..statistics import cluster_bootstrap, wilson
from ..stimuli.counterfactuals import PROPERTIES, CounterfactualTable
from ..stimuli.distribution import SceneDistribution
from ..stimuli.rendering import BACKGROUND
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import Split
from .activations import capture, forward_from, residuals
from .alignment import Alignment
from .choices import Compat, check_choices, check_counts
from .interchange import intervene
from .result import TableResult

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from matplotlib.figure import Figure

Vectors = Literal["known", "added", "interpolated", "sampled", "random"]
Baseline = Literal["subspace", "full_residual", "blank_image"]
METHODS: tuple[Vectors, ...] = ("known", "added", "interpolated", "sampled", "random")
BASELINES: tuple[Baseline, ...] = ("subspace", "full_residual", "blank_image")
_MIX = {"known": (1.0, 0.0), "added": (1.0, 1.0), "interpolated": (0.5, 0.5)}
_OFFICIAL_BATCH = 64


@dataclass(frozen=True)
class NovelConfig:
    """Which vectors are injected where.

    Raises:
        RelViTError: an unknown method, baseline or compat.
    """

    methods: tuple[Vectors, ...] = METHODS
    """The vectors, from source objects e of other scenes: "added" e1 + e2, "interpolated" half of that, "sampled" a
    Gaussian with the mean and the standard deviation of each dimension of e, "random" a standard Gaussian (all the
    paper's); "known" e1 itself, for comparison (ours). The first three keep e's differences between the tokens of an
    object, the last two are the same at all of them, as in the official code."""
    baselines: tuple[Baseline, ...] = BASELINES
    """"subspace": into the alignment's subspace (the paper). "full_residual": the whole residual stream of the tokens
    is replaced. "blank_image": into the subspace, in an image from which the pair was erased."""
    compat: Compat = "corrected"
    """"corrected": a fresh draw for each example, from objects of different values. "official": one draw for each
    batch of 64, from any two objects."""
    split: Split = "test"
    """Of the scenes to test on; the paper takes IID test pairs."""
    bank: int = 400
    """Pairs of the validation split whose source objects give the vectors."""
    pairs: int = 400
    """Pairs to test on."""
    seed: int = 0
    batch_size: int = 64
    """Does not change the result beyond rounding."""
    bf16: bool = False
    """Run the blocks after the site in bfloat16 (ours); the intervention stays in float32."""

    def __post_init__(self):
        check_choices(self)
        check_counts(self)


@dataclass(frozen=True, eq=False)
class Novel(TableResult):
    """How often a pair with an injected property value is judged as it should be.

    Attributes:
        frame: a row an alignment, baseline, method and condition ("all"; "different", "same": the pair before):
            ``property, layer, baseline, method, condition, accuracy, n, draws, ci_low, ci_high`` (Wilson where each
            example has its own draw, else a bootstrap over draws; 95 %), ``base_accuracy`` (of the model on the scenes
            as they are) and ``floor`` (doing nothing: 1 - base_accuracy).
        facts: config, provenance.
    """

    TITLE: ClassVar[str] = "novel representations"
    STEM: ClassVar[str] = "novel"
    TABLES: ClassVar[tuple[str, ...]] = ("novel",)
    EXAMPLE: ClassVar[str] = "novel/color"

    frame: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def figure(self) -> Figure:
        """Accuracy by layer, a panel per baseline and property."""
        from ..figures.causal import novel_figure

        return novel_figure(self.frame)


def inject_novel(
    checkpoint: Checkpoint,
    alignments: Sequence[Alignment],
    distribution: SceneDistribution,
    config: NovelConfig | None = None,
    *,
    progress: bool = False,
) -> Novel:
    """Draw vectors and pairs per property, and inject the former into the latter; see the head of this module.

    Args:
        checkpoint: the classifier that the alignments were found on, and its processor.
        alignments: of one property or of both, at any layers.
        distribution: of the scenes; usually ``checkpoint.distribution()``.
        config: see NovelConfig.
        progress: show bars.

    Returns:
        Facts are those of ``inject_into_pairs``, per property where there are two.

    Raises:
        RelViTError: see ``inject_into_pairs``; a split that does not exist.
    """
    config = config or NovelConfig()
    parts: dict[str, Novel] = {}
    for prop in PROPERTIES:
        chosen = [alignment for alignment in alignments if alignment.property == prop]
        if chosen:
            bank = distribution.pairs(prop, "validation", config.bank)
            pairs = distribution.pairs(prop, config.split, config.pairs)
            parts[prop] = inject_into_pairs(
                checkpoint, chosen, bank, pairs, config, progress=progress
            )
    if not parts:
        checkpoint.check()
        raise RelViTError("no alignments to inject into: expected at least one")
    if len(parts) == 1:
        return next(iter(parts.values()))
    frame = pd.concat([part.frame for part in parts.values()], ignore_index=True)
    return Novel(frame, {prop: part.facts for prop, part in parts.items()})


@torch.no_grad()
def inject_into_pairs(
    checkpoint: Checkpoint,
    alignments: Sequence[Alignment],
    bank: CounterfactualTable,
    pairs: CounterfactualTable,
    config: NovelConfig | None = None,
    *,
    progress: bool = False,
) -> Novel:
    """Inject vectors into both objects of the edited pair, at all their tokens, and read the answer.

    Pairs that differ in the property only get one vector in both objects and should become same; same pairs get two
    independent ones and should become different.

    Args:
        checkpoint: the classifier that the alignments were found on, and its processor.
        alignments: of one property, at any layers.
        bank: pairs whose source objects give the vectors; the paper takes the validation split.
        pairs: ``n`` pairs to test on; the paper takes IID test pairs.
        config: see NovelConfig.
        progress: show bars.

    Raises:
        RelViTError: no alignments, alignments of another model or property, tables about another property, of another
            geometry, or empty, a bank with fewer than 4 values of the property (corrected draws only).
    """
    config = config or NovelConfig()
    model = checkpoint.model
    _check(checkpoint, alignments, bank, pairs)
    geometry = checkpoint.geometry
    first = next(model.parameters())
    model.eval()
    sites = sorted({alignment.site for alignment in alignments})
    giver = np.arange(len(bank)), bank.source_object
    tokens = torch.from_numpy(geometry.tokens(bank.source.patches())[giver])
    states = residuals(checkpoint, bank.source, sites, tokens=tokens, progress=progress)
    states = {site: found.to(first.device) for site, found in states.items()}
    drawn, draw = _draw(getattr(bank.source, bank.property)[giver], len(pairs), config)

    n, rows = len(pairs), np.arange(len(pairs))[:, None]
    both = np.stack([pairs.edited, pairs.fixed], 1)
    patches = pairs.base.patches()[rows, both]
    where = torch.from_numpy(geometry.tokens(patches)).flatten(1).to(first.device)
    label = torch.from_numpy(pairs.label.astype(np.int64))
    # one vector for both objects where the pair is to become same
    second = torch.from_numpy(np.where(pairs.judgement == 0, 0, 1))
    noise = torch.randn(
        int(draw[-1]) + 1,
        2,
        model.config.hidden_size,
        generator=torch.Generator().manual_seed(config.seed),
    )
    drawn, second, noise = (tensor.to(first.device) for tensor in (drawn, second, noise))
    rows_of_noise = torch.from_numpy(draw).to(first.device)
    bases = {
        (i, baseline): (
            torch.eye(alignment.width) if baseline == "full_residual" else alignment.basis
        ).to(first.device)
        for i, alignment in enumerate(alignments)
        for baseline in config.baselines
    }
    written = {
        (i, baseline): basis if baseline == "full_residual" else alignments[i].write_basis.to(basis)
        for (i, baseline), basis in bases.items()
    }
    known = {
        (i, b): states[alignments[i].site].float() @ basis.T for (i, b), basis in bases.items()
    }
    answers = {(*key, method): [] for key in bases for method in config.methods}
    unedited = []
    for start in progress_bar(
        range(0, n, config.batch_size), desc="novel", disable=not progress, leave=False
    ):
        batch = slice(start, start + config.batch_size)
        images = pairs.base[batch].pixels()
        views = {"image": images}
        if "blank_image" in config.baselines:
            views["blank"] = _erase(images, pairs.base[batch], both[batch])
        captured = {
            view: capture(model, checkpoint.pixel_values(pixels), sites)
            for view, pixels in views.items()
        }
        unedited.append(forward_from(model, sites[0], captured["image"][sites[0]]).argmax(-1))
        for (i, baseline, method), found in answers.items():
            site, basis = alignments[i].site, bases[i, baseline]
            # the same draws in all baselines and layers
            options = drawn[batch], noise[rows_of_noise[batch]][..., : len(basis)], second[batch]
            write = written[i, baseline]
            vectors = novel_vectors(known[i, baseline], method, *options) @ write
            residual = captured["blank" if baseline == "blank_image" else "image"][site]
            mask = torch.ones(len(basis), device=first.device)
            edited = intervene(residual, where[batch], vectors, basis, mask, write)
            with torch.autocast(first.device.type, torch.bfloat16, enabled=config.bf16):
                found.append(forward_from(model, site, edited).argmax(-1))
    natural = torch.cat(unedited).cpu()
    table = []
    for (i, baseline, method), parts in answers.items():
        which = {
            "property": bank.property,
            "layer": alignments[i].site.layer,
            "baseline": baseline,
            "method": method,
        }
        right = (torch.cat(parts).cpu() == label).numpy()
        for condition, of in (
            ("all", slice(None)),
            ("different", pairs.judgement == 0),
            ("same", pairs.judgement == 1),
        ):
            if len(right[of]):
                own = (natural != label).numpy()[of].mean()
                table.append(
                    which
                    | {"condition": condition}
                    | _row(right[of], draw[of])
                    | {"base_accuracy": own}
                )
    frame = pd.DataFrame(table).assign(floor=lambda rows: 1 - rows.base_accuracy)
    facts = {
        "config": asdict(config),
        "task": pairs.base.task,
        "geometry": pairs.base.geometry.name,
        "splits": [bank.base.split, pairs.base.split],
        "alignments": [alignment.facts for alignment in alignments],
        "provenance": provenance(
            seed=config.seed, data_seed=pairs.base.seed, processor=checkpoint.processor.fingerprint
        ),
    }
    return Novel(frame, facts)


def _check(
    checkpoint: Checkpoint,
    alignments: Sequence[Alignment],
    bank: CounterfactualTable,
    pairs: CounterfactualTable,
) -> None:
    if not alignments or not len(bank) or not len(pairs):
        raise RelViTError(
            f"{len(alignments)} alignments, {len(bank)} pairs to take vectors from, {len(pairs)} pairs to test on: "
            "expected at least one of each"
        )
    for table in (bank, pairs):
        checkpoint.check(table.base)
    for alignment in alignments:
        alignment.check(checkpoint.model)
        if not alignment.property == bank.property == pairs.property:
            raise RelViTError(
                f"an alignment of {alignment.property}, vectors of {bank.property}, pairs about {pairs.property}: "
                "expected one property; call once for each"
            )
    if bank.base.geometry.object_patches != pairs.base.geometry.object_patches:
        raise RelViTError(
            f"vectors from {bank.base.geometry.name!r} for pairs in {pairs.base.geometry.name!r}: take one geometry"
        )


def _draw(values: np.ndarray, n: int, config: NovelConfig) -> tuple[torch.Tensor, np.ndarray]:
    """Which objects of the bank each example uses, ``(n, 2 vectors, 2 objects)``, and to which draw it belongs."""
    rng = np.random.default_rng(config.seed)
    if config.compat == "official":
        draw = np.arange(n) // _OFFICIAL_BATCH
        return torch.from_numpy(rng.integers(0, len(values), (draw[-1] + 1, 2, 2))[draw]), draw
    kinds, member = np.unique(values, return_inverse=True)
    if len(kinds) < 4:
        raise RelViTError(
            f"vectors of {len(kinds)} values: two different pairs need 4; take more pairs or another split"
        )
    four = np.argsort(rng.random((n, len(kinds))), axis=1)[:, :4]
    order, count = np.argsort(member, kind="stable"), np.bincount(member)
    first = np.cumsum(count) - count
    chosen = order[first[four] + rng.integers(0, count[four])]
    return torch.from_numpy(chosen.reshape(n, 2, 2)), np.arange(n)


def novel_vectors(
    known: Float[torch.Tensor, "bank tokens size"],
    method: str,
    drawn: Int[torch.Tensor, "batch 2 2"],
    noise: Float[torch.Tensor, "batch 2 size"],
    second: Int[torch.Tensor, " batch"],
) -> Float[torch.Tensor, "batch 2*tokens size"]:
    """Coordinates to inject at all tokens of both objects: ``(batch, 2 * tokens, size)``.

    Args:
        known: coordinates of the bank, ``(N, tokens, size)``.
        drawn: ``(batch, 2 vectors, 2 objects)``, rows of the bank.
        noise: ``(batch, 2 vectors, size)``.
        second: ``(batch,)``, which vector the second object gets: 0 the same as the first, 1 another.
    """
    if method in _MIX:
        a, b = _MIX[method]
        vectors = a * known[drawn[:, :, 0]] + b * known[drawn[:, :, 1]]  # (batch, 2, tokens, size)
    else:
        if method == "sampled":
            flat = known.flatten(0, 1)
            mean = flat.mean(0)
            noise = mean + (flat - mean).square().mean(0).sqrt() * noise
        vectors = noise[:, :, None].expand(-1, -1, known.shape[1], -1)
    return torch.cat(
        [vectors[:, 0], vectors[torch.arange(len(vectors), device=vectors.device), second]], 1
    )


def _erase(images: np.ndarray, scenes: SceneTable, objects: np.ndarray) -> np.ndarray:
    """The images without some of their objects, ``(n, objects)``."""
    geometry, erased = scenes.geometry, images.copy()
    corners = (
        scenes.corner[np.arange(len(scenes))[:, None], objects].astype(int) * geometry.patch_size
    )
    for image, places in zip(erased, corners):
        for top, left in places:
            image[top : top + geometry.object_size, left : left + geometry.object_size] = BACKGROUND
    return erased


def _row(right: np.ndarray, draw: np.ndarray) -> dict[str, Any]:
    draws = len(np.unique(draw))
    if 1 < draws < len(draw):
        low, high = cluster_bootstrap(right.astype(float), draw, draws=1000)
    else:
        low, high = wilson(int(right.sum()), len(right))
    return {
        "accuracy": right.mean(),
        "n": len(right),
        "draws": draws,
        "ci_low": float(low),
        "ci_high": float(high),
    }
