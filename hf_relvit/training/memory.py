"""Training that goes on with smaller pieces of a batch when memory does not suffice."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import Trainer

from ..errors import RelViTError

logger = logging.getLogger(__name__)

_LESS = "set gradient_checkpointing: true, or choose a smaller backbone or geometry"
_LOST = (
    getattr(torch, "AcceleratorError", torch.distributed.DistError),
    torch.distributed.DistError,
)  # from 2.8
_SEARCHED_TOGETHER = 2  # steps: from the second one on, the optimizer's state is in memory too


class FrugalTrainer(Trainer):
    """Trainer that takes a batch in smaller pieces as soon as one does not fit in memory.

    The step that failed is done again with half as many images at once, and their gradients are added up: same
    images, same order, same global batch, same step. Losses must be means over the images of a batch with as many
    terms for each image, as ours are, so that weighted pieces add up to the whole. (transformers'
    ``auto_find_batch_size`` shrinks the global batch and starts the training anew.)

    Several processes may need pieces of different sizes. In their first two steps each finds its own without the
    others, and the gradients are averaged after; if memory runs out later, when others wait for this process's
    gradients, training ends with an error and goes on from the last checkpoint when it is run again.

    Attributes:
        micro_batch: images of this process at once; None as long as whole batches fit.
    """

    micro_batch: int | None = None
    _searched = 0

    @property
    def images_at_once(self) -> int:
        """How many images this process takes at once, for the provenance of a run."""
        return self.micro_batch or self.args.per_device_train_batch_size

    def train(self, *args, **kwargs):
        """As Trainer's.

        Raises:
            RelViTError: a single image does not fit in memory, or memory ran out where no smaller piece can help; the
                device or another process is lost.
        """
        try:
            return super().train(*args, **kwargs)
        except RuntimeError as error:
            step, again = (
                self.state.global_step,
                "run the same command again, which goes on from the last checkpoint",
            )
            if should_reduce_batch_size(error):
                raise RelViTError(
                    f"out of memory at step {step}: {again}; if that does not help, {_LESS}",
                    page="out-of-memory",
                ) from error
            if isinstance(error, _LOST):
                what = str(error).splitlines()[0]
                raise RelViTError(
                    f"lost the device or another process at step {step} ({what}): {again}",
                    page="lost-process",
                ) from error
            raise

    def training_step(self, model, inputs, num_items_in_batch=None):
        alone = self.accelerator.num_processes == 1
        together = not alone and self._searched < _SEARCHED_TOGETHER
        if not alone and not together:
            return self._in_pieces(model, inputs)
        while (loss := self._attempt(self.model if together else model, inputs)) is None:
            self.micro_batch = self._half(self.micro_batch or _length(inputs), "training")
        if together:
            self._searched += 1
            trained: Any = self.model
            for parameter in trained.parameters():
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, "mean")
        return loss

    def _attempt(self, model, inputs) -> torch.Tensor | None:
        """The loss of a step, or None if it does not fit; then nothing is left of it."""
        accumulating = any(parameter.grad is not None for parameter in model.parameters())
        try:
            return self._in_pieces(model, inputs)
        except RuntimeError as error:
            # What went before in an accumulated step cannot be told from the torn gradients of this piece.
            if accumulating or not should_reduce_batch_size(error):
                raise
        # Not in the handler: there the traceback still holds what the step had computed.
        model.zero_grad()
        clear_device_cache(garbage_collection=True)
        return None

    def _in_pieces(self, model, inputs) -> torch.Tensor:
        n = _length(inputs)
        size = min(self.micro_batch or n, n)
        accumulated = self.current_gradient_accumulation_steps
        losses = []
        try:
            for start in range(0, n, size):
                piece = {name: value[start : start + size] for name, value in inputs.items()}
                # which training_step divides the loss by
                self.current_gradient_accumulation_steps = accumulated * n / _length(piece)
                last = start + size >= n
                with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                    losses.append(super().training_step(model, piece))
        finally:
            self.current_gradient_accumulation_steps = accumulated
        return sum(losses, torch.zeros_like(losses[0]))

    def evaluate(self, *args, **kwargs):
        while True:
            try:
                return super().evaluate(*args, **kwargs)
            except RuntimeError as error:
                if self.accelerator.num_processes > 1 or not should_reduce_batch_size(error):
                    raise
            clear_device_cache(garbage_collection=True)
            self.args.per_device_eval_batch_size = self._half(
                self.args.per_device_eval_batch_size, "evaluation"
            )

    def _half(self, size: int, what: str) -> int:
        if size == 1:
            raise RelViTError(
                f"one image does not fit in memory ({what} on {self.args.device}): {_LESS}",
                page="out-of-memory",
            )
        half = -(-size // 2)
        same = (
            "; the batch of a step stays the same, in several pieces" if what == "training" else ""
        )
        logger.warning(
            "out of memory with %d images at once (%s on %s): going on with %d%s",
            size, what, self.args.device, half, same,
        )  # fmt: skip
        return half


def _length(inputs: dict[str, torch.Tensor]) -> int:
    return len(inputs["pixel_values"])
