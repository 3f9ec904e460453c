"""Training that removes old checkpoints, of those that it wrote itself."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..owned import noting, remove_noted
from .memory import FrugalTrainer

SAVED_STEPS = "saved_steps"
"""Key of the Trainer's state under which a training notes its checkpoints."""


class TidyTrainer(FrugalTrainer):
    """Trainer whose ``save_total_limit`` counts the checkpoints that this training wrote.

    Trainer itself removes any folder called ``checkpoint-N`` in its output folder, whoever made it. Here the state
    names the steps, which a resumed training goes on with, and a record in each folder names the files.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.checkpoints_kept = self.args.save_total_limit
        self.args.save_total_limit = None  # from here on it is not Trainer that removes

    def _save_checkpoint(self, model, trial):
        step = self.state.global_step
        folder = self._checkpoint(step)
        self._saved_steps = [*self._earlier(step), step]
        writes = self.args.should_save
        notes = noting(folder) if writes else contextlib.nullcontext()
        with notes:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process writes its random state
        if writes and self.checkpoints_kept:
            needed = {step, self._best_step()}
            self._keep(needed, self.checkpoints_kept)

    @property
    def _saved_steps(self) -> list[int]:
        """Steps of the checkpoints of this training, also from before it was resumed, in order."""
        callbacks: Any = self.state.stateful_callbacks
        return callbacks.get(SAVED_STEPS, [])

    @_saved_steps.setter
    def _saved_steps(self, steps: list[int]) -> None:
        callbacks: Any = self.state.stateful_callbacks
        callbacks[SAVED_STEPS] = steps

    def _earlier(self, now: int) -> list[int]:
        """Of the steps those before this one whose checkpoints are still there."""
        steps = [step for step in self._saved_steps if step != now]
        return [step for step in steps if self._checkpoint(step).is_dir()]

    def _finalize_training(self, trial, num_train_samples, start_time):
        output = super()._finalize_training(trial, num_train_samples, start_time)
        best = self._best_step()
        if self.args.should_save and best is not None and self.checkpoints_kept == 1:
            self._keep({best}, 1)
        return output

    def _keep(self, needed: set[int | None], number: int) -> None:
        """Remove the oldest checkpoints of this training over a number, but none that is needed."""
        steps = self._saved_steps
        others = [step for step in steps if step not in needed]
        kept = max(number - len(steps) + len(others), 0)
        surplus = others[: len(others) - kept]
        for step in surplus:
            remove_noted(self._checkpoint(step))

    def _checkpoint(self, step: int) -> Path:
        return Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"

    def _best_step(self) -> int | None:
        best = self.state.best_model_checkpoint
        return None if best is None else int(best.rpartition("-")[2])
