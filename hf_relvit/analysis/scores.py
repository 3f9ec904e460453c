"""How often does the answer follow a swap, and how natural are the edited states?

1. Per pair, swap the subspace of one object of the base for that of an object of the source, and run the later blocks.
2. Accuracy: the share of pairs with the counterfactual answer, with its interval, beside the floor of doing nothing.
3. Divergence and EMD: how far the edited tokens are from states of objects that take no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..modeling.finite import FiniteWatch
from ..progress import batches
from ..statistics import wilson
from ..stimuli.counterfactuals import CounterfactualTable
from .activations import Site, at_tokens, forward_from
from .alignment import Alignment
from .interchange import Control, PairResiduals, capture_pair_residuals, intervene
from .naturalness import earth_movers_distance, mahalanobis_divergence


def residuals_of(
    checkpoint: Checkpoint,
    pairs: CounterfactualTable | PairResiduals,
    site: Site,
    cache_gb: float,
    progress: bool,
) -> PairResiduals:
    """Pairs with their residual streams, captured unless they were before."""
    if isinstance(pairs, PairResiduals):
        checkpoint.check(pairs.pairs.base)
        pairs.check(site)
        return pairs
    return capture_pair_residuals(checkpoint, pairs, [site], cache_gb=cache_gb, progress=progress)


@torch.no_grad()
def score_alignment(
    checkpoint: Checkpoint,
    alignment: Alignment,
    pairs: CounterfactualTable | PairResiduals,
    control: Control | None = None,
    *,
    batch_size: int = 64,
    bf16: bool = False,
    cache_gb: float = 4.0,
    progress: bool = False,
) -> pd.DataFrame:
    """How often swapping the subspace gives the answer that swapping the property would.

    Args:
        checkpoint: that of the alignment. For the random-weights control, fit an alignment on
            ``checkpoint.randomly_initialized()`` and score it there.
        alignment: of the pairs' property.
        pairs: of any split, or their ``capture_pair_residuals``. ``sample_isolation_pairs`` of the other property's
            pairs make the result the isolate score instead of the cause score.
        control: None, "wrong_object" or "random_tokens", see ``PairResiduals.operands``; answers are counted against
            the same labels, so a control should come out at the floor.
        batch_size: does not change the result beyond rounding.
        bf16: run the blocks after the site in bfloat16, as ``DASConfig.bf16``.
        cache_gb: memory for activations; the rest is on disk.
        progress: show bars.

    Returns:
        One row per condition: "all", and "different" and "same", the relation of the edited pair in the base. Columns
        ``property, method, layer, size, split, score, control, condition, accuracy, n, ci_low, ci_high`` (Wilson,
        95 %), ``base_accuracy`` (of the model on the bases as they are), ``floor`` (accuracy of doing nothing: for
        the cause score 1 - base_accuracy) and ``divergence``: mean squared Mahalanobis distance of the edited tokens
        from the states of objects that take no part, over that of the same tokens before the edit. 1 is natural.
        It judges one token at a time. Our choice, for the question of Grant et al. (arXiv 2511.04638). ``emd`` is
        their measure, see ``earth_movers_distance``, ``emd_unedited`` that of the same tokens before the edit.

    Raises:
        RelViTError: an alignment of another model or property, pairs of another geometry, an unknown control, states
            or answers that are not finite.
    """
    alignment.check(checkpoint.model)
    table = pairs.pairs if isinstance(pairs, PairResiduals) else pairs
    if table.property != alignment.property:
        raise RelViTError(
            f"an alignment of {alignment.property} for pairs about {table.property}: sample pairs about "
            f"{alignment.property}, or take sample_isolation_pairs of these"
        )
    data = residuals_of(checkpoint, pairs, alignment.site, cache_gb, progress)
    options: Any = {"batch_size": batch_size, "bf16": bf16, "progress": progress}
    swaps = swaps_of(checkpoint, alignment, data, control, **options)
    swapped = _joined(list(swaps))
    reference = data.reference_states(alignment.site, control)
    natural = _unedited(checkpoint.model, data, batch_size)
    scored = _Scored(table, swapped, natural.cpu().numpy(), reference)
    rows = scored.rows(alignment, control or "none")
    return pd.DataFrame(list(rows))


@dataclass(frozen=True, eq=False)
class _Scored:
    """Pairs after the swap.

    Attributes:
        pairs: ``n`` of them.
        swap: of all pairs.
        natural: int64 ``(n,)``, answers without an edit.
        reference: states of objects that take no part, ``(N, hidden)``.
    """

    pairs: CounterfactualTable
    swap: Swap
    natural: np.ndarray
    reference: torch.Tensor

    @property
    def is_cause(self) -> bool:
        """Whether the swap is to change every answer."""
        changes = self.pairs.label != self.pairs.base.label
        return bool(changes.all())

    def rows(self, alignment: Alignment, control: str) -> Iterator[dict[str, Any]]:
        """The rows of all conditions that occur; see ``score_alignment``."""
        known = {
            "property": alignment.property,
            "method": alignment.method,
            "layer": alignment.site.layer,
            "size": alignment.size,
            "split": self.pairs.base.split,
            "score": "cause" if self.is_cause else "isolate",
            "control": control,
        }
        frame = self._by_pair()
        judgement = self.pairs.judgement
        conditions = {
            "all": frame,
            "different": frame[judgement == 0],
            "same": frame[judgement == 1],
        }
        for name, part in conditions.items():
            if len(part):
                moved = self._moved(part.index)
                yield {**known, **_row(name, part), **moved}

    def _by_pair(self) -> pd.DataFrame:
        """One row per pair: which answers are right, and how far its tokens are from natural ones."""
        label = self.pairs.label
        answers = self.swap.logits.argmax(-1)
        before = mahalanobis_divergence(self.swap.before, self.reference)
        after = mahalanobis_divergence(self.swap.after, self.reference)
        return pd.DataFrame(
            {
                "accuracy": answers.cpu().numpy() == label,
                "base_accuracy": self.natural == self.pairs.base.label,
                "floor": self.natural == label,
                "before": before,
                "after": after,
            }
        )

    def _moved(self, pairs: pd.Index) -> dict[str, float]:
        """How far the tokens of some pairs are from natural ones as a whole, after and before the edit."""
        chosen = torch.tensor(pairs.tolist(), device=self.swap.after.device)
        after = self.swap.after[chosen]
        before = self.swap.before[chosen]
        return {
            "emd": earth_movers_distance(after, self.reference),
            "emd_unedited": earth_movers_distance(before, self.reference),
        }


def _joined(swaps: list[Swap]) -> Swap:
    """All batches as one."""
    logits = torch.cat([swap.logits for swap in swaps])
    before = torch.cat([swap.before for swap in swaps])
    after = torch.cat([swap.after for swap in swaps])
    return Swap(logits, before, after)


@dataclass(frozen=True, eq=False)
class Swap:
    """A batch after the swap: logits, and the edited tokens before and after ``(batch, p, hidden)``."""

    logits: torch.Tensor
    before: torch.Tensor
    after: torch.Tensor


@torch.no_grad()
def swaps_of(
    checkpoint: Checkpoint,
    alignment: Alignment,
    data: PairResiduals,
    control: Control | None = None,
    *,
    batch_size: int = 64,
    bf16: bool = False,
    progress: bool = False,
) -> Iterator[Swap]:
    """Swap the subspace in every pair and run the blocks after the site.

    Raises:
        RelViTError: after the last pair, if an answer is not finite.
    """
    site = alignment.site
    device = checkpoint.device
    model = checkpoint.model.eval()
    operator = alignment.operator(device)
    tokens, source = data.operands(site, control)
    watch = FiniteWatch(f"answers after swaps at {site}")
    for rows in batches(len(data.pairs), batch_size, "score", progress):
        residual = data.base[site][rows].to(device)
        where = tokens[rows].to(device)
        given = source[rows].to(device)
        edited = intervene(residual, where, given, *operator)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = forward_from(model, site, edited)
        watch.see(logits)
        before = at_tokens(residual, where)
        after = at_tokens(edited, where)
        yield Swap(logits, before, after)
    watch.check()


def _unedited(model: nn.Module, data: PairResiduals, batch_size: int) -> torch.Tensor:
    """Answers ``(n,)`` without an edit, which all controls share: computed once."""
    if not data.unedited:
        data.unedited.append(_answers(model, data, batch_size))
    return data.unedited[0]


def _answers(model: nn.Module, data: PairResiduals, batch_size: int) -> torch.Tensor:
    """Answers ``(n,)`` to the bases. They are the same from any site: the deepest has the fewest blocks to run."""
    deepest = max(data.base)  # sites are in the order of their layers
    device = next(model.parameters()).device
    answers = []
    for rows in data.base[deepest].split(batch_size):
        logits = forward_from(model, deepest, rows.to(device))
        answers.append(logits.argmax(-1))
    return torch.cat(answers)


def _row(condition: str, frame: pd.DataFrame) -> dict:
    low, high = wilson(int(frame.accuracy.sum()), len(frame))
    return {
        "condition": condition,
        "accuracy": frame.accuracy.mean(),
        "n": len(frame),
        "ci_low": float(low),
        "ci_high": float(high),
        "base_accuracy": frame.base_accuracy.mean(),
        "floor": frame.floor.mean(),
        "divergence": frame.after.mean() / frame.before.mean(),
    }
