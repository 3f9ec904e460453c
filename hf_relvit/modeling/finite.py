"""Numbers of a model that are not finite end a measurement: an answer read from them would look like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import RelViTError

if TYPE_CHECKING:
    from jaxtyping import Float


class FiniteWatch:
    """Whether all numbers that were seen are finite.

    They are looked at on their device and asked for once, so that the host does not wait for every batch of an
    accelerator.

    Example::

        watch = FiniteWatch("answers")
        for pixels in batches:
            watch.see(model(pixel_values=pixels).logits)
        watch.check()
    """

    def __init__(self, name: str):
        self.name = name
        self._finite: torch.Tensor | None = None

    def see(self, numbers: Float[torch.Tensor, " ..."]) -> None:
        """Look at some numbers, of any shape, all on one device."""
        finite = numbers.isfinite().all()
        before = self._finite
        self._finite = finite if before is None else before & finite

    def check(self) -> None:
        """Raise RelViTError if any number that was seen is not finite."""
        if self._finite is not None and not self._finite.item():
            raise RelViTError(
                f"{self.name} that are not finite: expected numbers; check the weights"
            )
