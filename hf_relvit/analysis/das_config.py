"""The settings of an alignment: how it is found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import RelViTError
from .choices import check_choices
from .subspaces import LEARNED, METHODS, SIZED, Method

OBLIQUE = ("closed_form", "oblique")
"""Methods that write other directions than they read."""
LABELED = ("closed_form", "dictionary")
"""Methods that take labeled scenes; pairs choose a scale or a number of features."""
_STARTED = ("das", "low_rank", "oblique")
"""Methods whose search can start at a closed form."""


@dataclass(frozen=True)
class DASConfig:
    """How an alignment is found. The values are the paper's (section 5 and official code) unless noted.

    Raises:
        RelViTError: unknown method or control, a size where none or one is needed, values out of range.
    """

    method: Method = "das"
    """"das" (a rotation and a mask, the paper's); ours, through the same code: "closed_form" (read and written
    directions from means and covariances, no search), "oblique" (such a pair, learned further), "dictionary" (features
    of a given matrix or sparse autoencoder), "identity" (a mask in the standard basis), "low_rank", "boundless", and,
    untrained, "pca", "mean_difference", "random_subspace", "full_swap"."""
    size: int | None = None
    """Directions of "low_rank" and of the untrained subspaces; of "closed_form" at most, by cross-validation if not
    given; features of "dictionary", by held-out training pairs if not given."""
    dictionary: str | None = None
    """Safetensors file of "dictionary": a matrix (features, hidden), or the encoder and decoder of an autoencoder."""
    scale: float | None = None
    """Factor on the change that "closed_form" and "oblique" write; held-out training pairs choose it by default."""
    start: Literal["random", "closed_form"] = "random"
    """Where a search starts: at a random rotation (the paper), or at the closed form (ours), for few steps."""
    patience: int | None = None
    """Stop when the loss on held-out training pairs did not fall for so many epochs, and keep the best; by default
    all epochs are done (the paper)."""
    control: Literal["wrong_object", "random_tokens"] | None = None
    """"wrong_object" or "random_tokens": train on the control; score with the same one."""
    epochs: int = 20
    batch_size: int = 64
    lr_rotation: float = 1e-3
    lr_mask: float = 1e-2
    penalty: float = 1e-3
    """Loss of each direction that is in. At the paper's value, some directions that nothing reads may stay in."""
    latent_loss: float = 0.0
    """Weight of the distance between edited states and those of real scenes in which the object has the new value
    (the counterfactual latent loss of arXiv 2511.04638; see ``latent_distance``); none by default, as in the paper."""
    final_temperature: float = 1 / 200
    """The mask's temperature falls geometrically from 1 to this."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises; then it falls to 0."""
    seed: int = 0
    bf16: bool = False
    """Run the blocks after the site in bfloat16 (ours); the intervention stays in float32."""
    cache_gb: float = 4.0
    """Memory for activations, and room for them on an accelerator; beyond it they are on disk (ours)."""

    def __post_init__(self):
        check_choices(self)
        self._check_size()
        self._check_dictionary()
        self._check_scale()
        self._check_start()
        self._check_latent_loss()
        self._check_search()

    def _check_size(self) -> None:
        needs_size = self.method in SIZED
        has_size = self.size is not None
        chooses = self.method == "dictionary" or "closed_form" in (self.method, self.start)
        misplaced = needs_size != has_size and not chooses
        below = self.size is not None and self.size < 1
        if misplaced or below:
            raise RelViTError(
                f"size {self.size} for method {self.method!r}: {', '.join(SIZED)} need a number of directions, at "
                "least 1, such as the size of a learned alignment; the other methods find or imply theirs"
            )

    def _check_dictionary(self) -> None:
        needed = self.method == "dictionary"
        given = self.dictionary is not None
        if needed != given:
            raise RelViTError(
                f"dictionary {self.dictionary} for method {self.method!r}: name a safetensors file, and the method "
                "'dictionary'"
            )

    def _check_scale(self) -> None:
        if self.scale is None:
            return
        if self.method not in OBLIQUE or not self.scale > 0:
            raise RelViTError(
                f"scale {self.scale} for method {self.method!r}: expected a number above 0, of {' or '.join(OBLIQUE)}"
            )

    def _check_start(self) -> None:
        at_random = self.start == "random"
        possible = METHODS if at_random else _STARTED
        homeless = self.method == "oblique" and at_random
        if self.method not in possible or homeless:
            raise RelViTError(
                f"start {self.start!r} for method {self.method!r}: a closed form starts {', '.join(_STARTED)}, and "
                "oblique starts there alone"
            )

    def _check_latent_loss(self) -> None:
        sensible = math.isfinite(self.latent_loss) and self.latent_loss >= 0
        learned = self.method in LEARNED
        unused = self.latent_loss and not learned
        if unused or not sensible:
            raise RelViTError(
                f"latent_loss {self.latent_loss} for method {self.method!r}: expected at least 0, and 0 unless the "
                f"method is one of {', '.join(LEARNED)}"
            )

    def _check_search(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise RelViTError(f"patience {self.patience}: expected at least 1, or none")
        counts = min(self.epochs, self.batch_size) >= 1
        shares = 0 < self.final_temperature <= 1 and 0 <= self.warmup <= 1
        if not counts or not shares:
            raise RelViTError(
                f"epochs {self.epochs}, batch size {self.batch_size}, final temperature {self.final_temperature}, "
                f"warmup {self.warmup}: expected at least 1, at least 1, above 0 to 1, and 0 to 1"
            )
