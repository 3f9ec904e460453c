"""The input of every method of alignment: captured pairs, settings, and the facts that are written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..modeling.checkpoints import Checkpoint
from ..provenance import provenance
from .activations import ObjectStates, Site
from .alignment import Alignment, fingerprint
from .das_config import DASConfig
from .interchange import PairResiduals
from .scores import swaps_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit of an alignment: pairs, settings and facts.

    Attributes:
        checkpoint: whose model is looked at; it does not learn.
        data: captured pairs, ``n`` of them.
        site: of the swap.
        config: see DASConfig.
        objects: object tokens of labeled scenes, if there are some.
        shuffled: whether labels are dealt anew, as a control.
        progress: whether bars are shown.
        watch: called after every epoch of a search.
        facts: of the alignment; methods write down theirs.
    """

    checkpoint: Checkpoint
    data: PairResiduals
    site: Site
    config: DASConfig
    objects: ObjectStates | None
    shuffled: bool
    progress: bool
    watch: Callable[[Alignment], None] | None
    facts: dict[str, Any]

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        data: PairResiduals,
        site: Site,
        config: DASConfig,
        objects: ObjectStates | None = None,
        shuffled: bool = False,
        progress: bool = False,
        watch: Callable[[Alignment], None] | None = None,
    ) -> Fit:
        """A fit with the facts that all methods have in common."""
        base = data.pairs.base
        made = provenance(
            seed=config.seed,
            data_seed=base.seed,
            processor=checkpoint.processor.fingerprint,
        )
        facts: dict[str, Any] = {
            "config": {"layer": site.layer, **asdict(config)},
            "task": base.task,
            "geometry": base.geometry.name,
            "split": base.split,
            "pairs": len(data.pairs),
            "history": [],
            "provenance": made,
        }
        if shuffled:
            facts["labels"] = "shuffled"
        return cls(checkpoint, data, site, config, objects, shuffled, progress, watch, facts)

    @cached_property
    def width(self) -> int:
        """Of the residual stream."""
        return self.checkpoint.model.config.hidden_size

    @cached_property
    def weights(self) -> str:
        """Fingerprint of the block at the site."""
        block = self.checkpoint.blocks[self.site.layer]
        return fingerprint(block)

    def generator(self) -> torch.Generator:
        """Random numbers of the seed, from the first one on."""
        return torch.Generator().manual_seed(self.config.seed)

    def split(self, held_out: int) -> tuple[Fit, PairResiduals]:
        """The fit without its last pairs, and those."""
        count = len(self.data.pairs) - held_out
        kept = self.data.select(slice(0, count))
        rest = self.data.select(slice(count, None))
        return replace(self, data=kept), rest

    def alignment(
        self,
        rotation: Float[torch.Tensor, "k hidden"],
        mask: Bool[torch.Tensor, " k"],
        **written: Any,
    ) -> Alignment:
        """The alignment of these rows, with its facts.

        Args:
            rotation, mask, written: as in Alignment.
        """
        return Alignment(
            rotation,
            mask,
            site=self.site,
            property=self.data.pairs.property,
            method=self.config.method,
            model=self.weights,
            facts=self.facts,
            **written,
        )

    def loss(self, alignment: Alignment, data: PairResiduals) -> float:
        """Mean cross-entropy of the counterfactual answers to pairs."""
        config = self.config
        labels = torch.from_numpy(data.pairs.label.astype(np.int64))
        swaps = swaps_of(self.checkpoint, alignment, data, config.control, bf16=config.bf16)
        logits = torch.cat([swap.logits for swap in swaps])
        goal = labels.to(logits.device)
        return nn.functional.cross_entropy(logits.float(), goal).item()
