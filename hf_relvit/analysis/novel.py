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

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
import torch

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..modeling.finite import FiniteWatch
from ..progress import run_passes, slices
from ..provenance import provenance
from ..statistics import cluster_bootstrap, wilson
from ..stimuli.counterfactuals import PROPERTIES, CounterfactualTable
from ..stimuli.distribution import SceneDistribution
from ..stimuli.rendering import BACKGROUND
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import Split
from .activations import Site, capture, capture_residuals, forward_from
from .alignment import Alignment
from .choices import Compat, check_choices, check_counts
from .interchange import intervene
from .result import TableResult

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from matplotlib.figure import Figure

Vectors = Literal["known", "added", "interpolated", "sampled", "random"]
Baseline = Literal["subspace", "full_residual", "blank_image"]
METHODS: tuple[Vectors, ...] = get_args(Vectors)
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
_MIX = {
    "known": (1.0, 0.0),
    "added": (1.0, 1.0),
    "interpolated": (0.5, 0.5),
}
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
    frames = [part.frame for part in parts.values()]
    facts = {prop: part.facts for prop, part in parts.items()}
    return Novel(pd.concat(frames, ignore_index=True), facts)


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
            geometry, or empty, a bank with fewer than 4 values of the property (corrected draws only), states or
            answers that are not finite.
    """
    config = config or NovelConfig()
    _check(checkpoint, alignments, bank, pairs)
    checkpoint.model.eval()
    injections = _Injections(checkpoint, alignments, bank, pairs, config, progress)
    parts = slices(len(pairs), config.batch_size)
    passes = len(injections.answers)
    run_passes(injections.add, parts, passes, desc="novel", disable=not progress)
    injections.watch.check()
    facts = {
        "config": asdict(config),
        "task": pairs.base.task,
        "geometry": pairs.base.geometry.name,
        "splits": [bank.base.split, pairs.base.split],
        "alignments": [alignment.facts for alignment in alignments],
        "provenance": provenance(
            seed=config.seed,
            data_seed=pairs.base.seed,
            processor=checkpoint.processor.fingerprint,
        ),
    }
    return Novel(injections.table(), facts)


@dataclass(frozen=True, eq=False)
class _Place:
    """An alignment in one baseline: where vectors are written, and those of the bank.

    Attributes:
        site: of the alignment.
        baseline: see NovelConfig.
        read, write: float32 ``(size, hidden)``, the rows that are read and written.
        known: float32 ``(N, p, size)``, coordinates of the bank's tokens.
    """

    site: Site
    baseline: Baseline
    read: torch.Tensor
    write: torch.Tensor
    known: torch.Tensor

    @classmethod
    def of(
        cls,
        alignment: Alignment,
        baseline: Baseline,
        states: torch.Tensor,
    ) -> _Place:
        """The place, with the bank's states ``(N, p, hidden)`` at its site."""
        if baseline == "full_residual":
            read = torch.eye(alignment.width).to(states.device)
            write = read
        else:
            read = alignment.basis.to(states.device)
            write = alignment.write_basis.to(read)
        known = states.float() @ read.T
        return cls(alignment.site, baseline, read, write, known)

    def edited(
        self,
        residual: torch.Tensor,
        where: torch.Tensor,
        coordinates: torch.Tensor,
    ) -> torch.Tensor:
        """The residual stream with these coordinates at these positions."""
        whole = torch.ones(len(self.read), device=residual.device)
        vectors = coordinates @ self.write
        return intervene(residual, where, vectors, self.read, whole, self.write)


def _places(
    alignments: Sequence[Alignment],
    baselines: Sequence[Baseline],
    states: dict[Site, torch.Tensor],
) -> list[_Place]:
    """Each alignment in each baseline."""
    return [
        _Place.of(alignment, baseline, states[alignment.site])
        for alignment in alignments
        for baseline in baselines
    ]


class _Injections:
    """Answers to injected vectors, batch by batch; the same draws in all places."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        alignments: Sequence[Alignment],
        bank: CounterfactualTable,
        pairs: CounterfactualTable,
        config: NovelConfig,
        progress: bool,
    ):
        device = checkpoint.device
        self.checkpoint = checkpoint
        self.pairs = pairs
        self.config = config
        self.sites = sorted({alignment.site for alignment in alignments})
        states = _bank_states(checkpoint, bank, self.sites, progress)
        self.places = _places(alignments, config.baselines, states)
        values = getattr(bank.source, bank.property)[_givers(bank)]
        drawn, self.draw = _draw(values, len(pairs), config)
        self.drawn = drawn.to(device)
        self.noise = self._noise().to(device)
        # one vector for both objects where the pair is to become same
        second = np.where(pairs.judgement == 0, 0, 1)
        self.second = torch.from_numpy(second).to(device)
        self.objects = np.stack([pairs.edited, pairs.fixed], 1)
        self.where = self._tokens().to(device)
        self.answers: dict[tuple[int, str], list[torch.Tensor]] = {}
        for number in range(len(self.places)):
            self.answers |= {(number, method): [] for method in config.methods}
        self.unedited: list[torch.Tensor] = []
        self.watch = FiniteWatch("answers to injected vectors")

    def _tokens(self) -> torch.Tensor:
        """Tokens of both objects of the edited pair, int64 ``(pairs, 2 p)``."""
        rows = np.arange(len(self.pairs))[:, None]
        patches = self.pairs.base.patches()[rows, self.objects]
        return torch.from_numpy(self.checkpoint.geometry.tokens(patches)).flatten(1)

    def _noise(self) -> torch.Tensor:
        """Standard Gaussians, float32 ``(draws, 2 vectors, hidden)``."""
        model: Any = self.checkpoint.model
        generator = torch.Generator().manual_seed(self.config.seed)
        draws = int(self.draw[-1]) + 1
        return torch.randn(draws, 2, model.config.hidden_size, generator=generator)

    def add(self, batch: slice) -> Iterator[None]:
        """Inject all vectors into the pairs of a batch, at all places, and tell after each, for a bar."""
        model = self.checkpoint.model
        views = self._captured(batch)
        first = self.sites[0]
        own_logits = forward_from(model, first, views["image"][first])
        self.unedited.append(own_logits.argmax(-1))
        drawn = self.drawn[batch]
        second = self.second[batch]
        rows = torch.from_numpy(self.draw[batch]).to(drawn.device)
        noise = self.noise[rows]
        for (number, method), answers in self.answers.items():
            place = self.places[number]
            view = "blank" if place.baseline == "blank_image" else "image"
            own_noise = noise[..., : len(place.read)]
            vectors = novel_vectors(place.known, method, drawn, own_noise, second)
            residual = views[view][place.site]
            edited = place.edited(residual, self.where[batch], vectors)
            with torch.autocast(edited.device.type, torch.bfloat16, enabled=self.config.bf16):
                logits = forward_from(model, place.site, edited)
            self.watch.see(logits)
            answers.append(logits.argmax(-1))
            yield

    def _captured(
        self,
        batch: slice,
    ) -> dict[str, dict[Site, torch.Tensor]]:
        """States at all sites, of the images and, where it is asked for, without the pair."""
        scenes = self.pairs.base[batch]
        images = scenes.pixels()
        views = {"image": images}
        if "blank_image" in self.config.baselines:
            views["blank"] = _erase(images, scenes, self.objects[batch])
        captured = {}
        for view, pixels in views.items():
            inputs = self.checkpoint.pixel_values(pixels)
            captured[view] = capture(self.checkpoint.model, inputs, self.sites)
        return captured

    def table(self) -> pd.DataFrame:
        """See ``Novel.frame``."""
        label = self.pairs.label
        judgement = self.pairs.judgement
        own = torch.cat(self.unedited).cpu().numpy()
        unmoved = own == label
        conditions = {
            "all": np.ones(len(label), bool),
            "different": judgement == 0,
            "same": judgement == 1,
        }
        conditions = {name: which for name, which in conditions.items() if which.any()}
        rows = []
        for (number, method), answers in self.answers.items():
            place = self.places[number]
            given = torch.cat(answers).cpu().numpy()
            right = given == label
            for condition, which in conditions.items():
                row = {
                    "property": self.pairs.property,
                    "layer": place.site.layer,
                    "baseline": place.baseline,
                    "method": method,
                    "condition": condition,
                    **_row(right[which], self.draw[which]),
                    "base_accuracy": (~unmoved)[which].mean(),
                    "floor": unmoved[which].mean(),  # counted, as the answers are
                }
                rows.append(row)
        return pd.DataFrame(rows)


def _givers(bank: CounterfactualTable) -> tuple[np.ndarray, np.ndarray]:
    """Index of the source objects: scene by scene, the object that gives its property."""
    return np.arange(len(bank)), bank.source_object


def _bank_states(
    checkpoint: Checkpoint,
    bank: CounterfactualTable,
    sites: list[Site],
    progress: bool,
) -> dict[Site, torch.Tensor]:
    """States of the bank's objects, ``(N, p, hidden)`` per site."""
    patches = bank.source.patches()[_givers(bank)]
    tokens = torch.from_numpy(checkpoint.geometry.tokens(patches))
    states = capture_residuals(checkpoint, bank.source, sites, tokens=tokens, progress=progress)
    return {site: found.to(checkpoint.device) for site, found in states.items()}


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


def _draw(
    values: np.ndarray,
    n: int,
    config: NovelConfig,
) -> tuple[torch.Tensor, np.ndarray]:
    """Which objects of the bank each example uses, ``(n, 2 vectors, 2 objects)``, and to which draw it belongs."""
    rng = np.random.default_rng(config.seed)
    if config.compat == "official":
        draw = np.arange(n) // _OFFICIAL_BATCH
        shape = (draw[-1] + 1, 2, 2)
        shared = rng.integers(0, len(values), shape)
        return torch.from_numpy(shared[draw]), draw
    kinds, member = np.unique(values, return_inverse=True)
    if len(kinds) < 4:
        raise RelViTError(
            f"vectors of {len(kinds)} values: two different pairs need 4; take more pairs or another split"
        )
    ties = rng.random((n, len(kinds)))
    four = np.argsort(ties, axis=1)[:, :4]
    order = np.argsort(member, kind="stable")
    count = np.bincount(member)
    first = np.cumsum(count) - count
    within = rng.integers(0, count[four])
    chosen = order[first[four] + within]
    drawn = torch.from_numpy(chosen.reshape(n, 2, 2))
    return drawn, np.arange(n)


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
        one = known[drawn[:, :, 0]]
        other = known[drawn[:, :, 1]]
        vectors = a * one + b * other  # (batch, 2, tokens, size)
    else:
        if method == "sampled":
            flat = known.flatten(0, 1)
            mean = flat.mean(0)
            variance = (flat - mean).square().mean(0)
            noise = mean + variance.sqrt() * noise
        everywhere = noise[:, :, None]
        vectors = everywhere.expand(-1, -1, known.shape[1], -1)
    rows = torch.arange(len(vectors), device=vectors.device)
    of_first = vectors[:, 0]
    of_second = vectors[rows, second]
    return torch.cat([of_first, of_second], 1)


def _erase(
    images: np.ndarray,
    scenes: SceneTable,
    objects: np.ndarray,
) -> np.ndarray:
    """The images without some of their objects, ``(n, objects)``."""
    geometry = scenes.geometry
    size = geometry.object_size
    rows = np.arange(len(scenes))[:, None]
    corners = scenes.corner[rows, objects].astype(int)
    starts = corners * geometry.patch_size
    erased = images.copy()
    for image, places in zip(erased, starts):
        for top, left in places:
            image[top : top + size, left : left + size] = BACKGROUND
    return erased


def _row(
    right: np.ndarray,
    draw: np.ndarray,
) -> dict[str, Any]:
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
