"""transformers' Trainer, with every loss term in the log and checkpoints that really load."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, has_length

from ..errors import RelViTError
from ..limits import duration
from ..modeling.attention_mass import record_object_attention
from ..modeling.checkpoints import check_loaded, unwrapped
from ..progress import progress_bar
from ..schemas import TrainerProgress, read_as
from .arguments import KEYWORDS, check_arguments
from .data import RelViTCollator, check_label_order, with_stored_pictures
from .old_checkpoints import TidyTrainer
from .stages import StageSums, records_attention

TERMS = ("task_loss", "disentanglement_loss", "pipeline_loss", "pipeline_weight")
_STAGED = ("eval", "eval_validation")
"""Evaluations whose stages of attention are logged."""
EXPONENTIAL_DECAY = 0.95  # per epoch; the official sweep's


def _check_given(model: Any, keywords: dict[str, Any]) -> None:
    """Refuse hooks for another loss or model, and adapters that are no PeftModel, which Trainer itself would take."""
    for name in ("compute_loss_func", "model_init"):
        if keywords.get(name) is not None:
            raise RelViTError(f"RelViTTrainer({name}=...): {KEYWORDS[name]}")
    if getattr(unwrapped(model), "_hf_peft_config_loaded", False):
        raise RelViTError(
            "a model with adapters of add_adapter, whose checkpoints Trainer cannot load: expected "
            "peft.get_peft_model(model, ...)"
        )


class RelViTTrainer(TidyTrainer):
    """Trainer for RelViTForImageClassification.

    Adds: the terms of the loss in the log; the stages of attention in that of the validation (``stages``); an error
    as soon as a logged loss is not a number; smaller pieces of a batch where memory does not suffice
    (``FrugalTrainer``); rotation that spares the checkpoints of others (``TidyTrainer``); the exponential schedule of
    the official sweep; and the weights of the best or the last checkpoint loaded completely (transformers up to 5.23
    silently skips the renamed ones: huggingface/transformers issues 43701 and 48805). ``label_smoothing_factor`` acts
    on the task loss alone.
    Arguments that it cannot honor are refused when it is made: docs/trainer_arguments.md.

    Args:
        epoch_steps: steps in an epoch, the unit of the losses' start and stop and of the exponential schedule.
            Fresh images have no epochs of their own: a run gives the paper's, 6,400 images.
        exponential: multiply the learning rate by 0.95 per epoch, whatever ``lr_scheduler_type`` says.
        pipeline_share: scale the pipeline loss at each step so that its gradient has this share of the norms of both
            gradients, its own and that of the other losses; by default its weight decides. Our choice, to compare
            pipelines of equal strength. Costs two further backward passes.
    """

    def __init__(
        self,
        model: Any = None,
        args: TrainingArguments | None = None,
        *rest,
        epoch_steps: int,
        exponential: bool = False,
        pipeline_share: float | None = None,
        **kwargs,
    ):
        if args is not None:
            check_arguments(args)
            args = copy.copy(args)  # the caller's stay as they are
        _check_given(model, kwargs)
        super().__init__(model, args, *rest, **kwargs)
        evaluated = self.eval_dataset
        named = evaluated.values() if isinstance(evaluated, dict) else [evaluated]
        for data in (self.train_dataset, *named):
            check_label_order(data)
        self.args.logging_nan_inf_filter = False  # it would hide what ``log`` looks for
        if isinstance(self.data_collator, RelViTCollator):  # it takes the columns that it needs
            self.args.remove_unused_columns = False
            on_host = self.data_collator.device.type == "cpu"
            self.args.dataloader_pin_memory = self.args.dataloader_pin_memory and on_host
        self.epoch_steps = epoch_steps
        self.exponential = exponential
        self.pipeline_share = pipeline_share
        self._stages = StageSums()
        self._tell_our_way()
        self._terms: dict[str, torch.Tensor] = {}
        self._terms_steps = 0.0

    def _tell_our_way(self) -> None:
        """Our bar and our log of a resumed run, in the place of Trainer's bars and prints."""
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        if not self.args.disable_tqdm:
            self.add_callback(_Progress)
        self.add_callback(_ResumedLog(self))

    def _get_dataloader(self, dataset: Any, *args: Any, **kwargs: Any):
        """As Trainer's; pictures come as they are stored to our collator, which checks them before it decodes them."""
        if isinstance(self.data_collator, RelViTCollator):
            dataset = with_stored_pictures(dataset)
        return super()._get_dataloader(dataset, *args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if model.training:
            inputs = {**inputs, "epoch": self.state.global_step / self.epoch_steps}
        if "labels" not in inputs:
            raise RelViTError(
                f"a batch with {', '.join(inputs)} and no labels: expected a column called label or labels; "
                "rename yours"
            )
        outputs = model(**inputs)
        if self.args.label_smoothing_factor:
            self._smooth(outputs, inputs["labels"])
        if model.training and self.pipeline_share is not None:
            self._balance(model, outputs)
        if model.training:
            share = 1 / self.current_gradient_accumulation_steps  # of the step's batch
            for name in TERMS:
                term = getattr(outputs, name, None)
                if term is not None:
                    self._terms[name] = self._terms.get(name, 0) + term.detach().mean() * share
            self._terms_steps += share
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def _balance(self, model: Any, outputs: Any) -> None:
        """Weigh the pipeline loss by the norms of the gradients; where no stage counts, it has none."""
        pipeline = outputs.pipeline_loss
        if not pipeline.requires_grad:
            return
        share: Any = self.pipeline_share
        others = outputs.loss - unwrapped(model).pipeline.weight * pipeline
        weight = share / (1 - share) * self._norm(others) / self._norm(pipeline)
        outputs.loss = others + weight * pipeline
        outputs.pipeline_weight = weight

    def _norm(self, loss: torch.Tensor) -> torch.Tensor:
        """Norm of the gradient of a loss, the mean over the processes."""
        model: Any = self.model
        trained = [each for each in model.parameters() if each.requires_grad]
        gradients = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
        norms = [each.float().norm() for each in gradients if each is not None]
        reduce: Any = self.accelerator.reduce
        return reduce(torch.stack(norms).norm(), "mean")

    def prediction_step(self, model, inputs, *args, **kwargs):
        if not ("patches" in inputs and records_attention(model)):
            return super().prediction_step(model, inputs, *args, **kwargs)
        geometry = unwrapped(model).geometry
        tokens = geometry.tokens(inputs["patches"])
        with record_object_attention(tokens, geometry.prefix_tokens) as recorder:
            predicted = super().prediction_step(model, inputs, *args, **kwargs)
        self._stages.add(recorder.mass)
        return predicted

    def evaluation_loop(self, *args, **kwargs):
        """As Trainer's; of the validation scenes also the stages of attention."""
        self._stages = StageSums()
        output: Any = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        if prefix in _STAGED and output.metrics is not None:
            named = self._stages.strongest(self.accelerator.reduce)
            output.metrics.update({f"{prefix}_{name}": share for name, share in named})
        return output

    def _smooth(self, outputs: Any, labels: torch.Tensor) -> None:
        """Smooth the labels of the task loss; Trainer's own way would drop the auxiliary losses."""
        factor = self.args.label_smoothing_factor
        smooth = cross_entropy(outputs.logits.float(), labels, label_smoothing=factor)
        outputs.loss = outputs.loss - outputs.task_loss + smooth
        outputs.task_loss = smooth

    def _save_checkpoint(self, model, trial):
        callbacks: Any = self.state.stateful_callbacks
        callbacks[_ResumedLog.KEY] = self._log_window()
        super()._save_checkpoint(model, trial)

    def _log_window(self) -> dict[str, Any]:
        """The sums since the last log, as the mean over the processes; floats are exact in JSON."""
        reduce: Any = self.accelerator.reduce
        return {
            "loss": reduce(self._tr_loss, "mean").item(),
            "logged_step": self._globalstep_last_logged,
            "logged_loss": self._total_loss_scalar,
            "terms": {name: reduce(term, "mean").item() for name, term in self._terms.items()},
            "terms_steps": self._terms_steps,
        }

    def restore_log(self, window: Mapping[str, Any]) -> None:
        """Go on with the sums of ``_log_window``: the log of a resumed training is that of an uninterrupted one."""
        device = self.args.device
        self._tr_loss = torch.tensor(window["loss"], device=device)
        self._globalstep_last_logged = window["logged_step"]
        self._total_loss_scalar = window["logged_loss"]
        self._terms = {
            name: torch.tensor(term, device=device) for name, term in window["terms"].items()
        }
        self._terms_steps = window["terms_steps"]

    def _attempt(self, model, inputs):
        terms = dict(self._terms)
        steps = self._terms_steps
        loss = super()._attempt(model, inputs)
        if loss is None:
            self._terms = terms
            self._terms_steps = steps
        return loss

    def log(self, logs, start_time=None):
        if "loss" in logs and self._terms_steps:
            if len(self._terms) > 1:
                reduce: Any = self.accelerator.reduce
                means = {name: total / self._terms_steps for name, total in self._terms.items()}
                logs |= {name: reduce(mean, "mean").item() for name, mean in means.items()}
            self._terms = {}
            self._terms_steps = 0.0
            if not math.isfinite(logs["loss"]):
                raise RelViTError(
                    f"the loss is {logs['loss']} at step {self.state.global_step}: lower the learning rate "
                    f"(now {self.args.learning_rate:g}) or train in float32 (bf16: false)",
                    page="nan-loss",
                )
        if "train_loss" in logs:  # Trainer's counts from the last resumption
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
        super().log(logs, start_time)

    def create_scheduler(self, num_training_steps, optimizer=None):
        if not self.exponential:
            return super().create_scheduler(num_training_steps, optimizer)
        adjusted: Any = optimizer or self.optimizer
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            adjusted,
            lambda step: EXPONENTIAL_DECAY ** (step // self.epoch_steps),
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _load_best_model(self):
        best: Any = self.state.best_model_checkpoint
        self._load_from_checkpoint(best)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        inner = self._inner(self.model if model is None else model)
        if not isinstance(inner, PreTrainedModel):  # peft's, which loads its adapters itself
            super()._load_from_checkpoint(resume_from_checkpoint, inner)
            return
        kind: Any = type(inner)
        saved, info = kind.from_pretrained(
            resume_from_checkpoint,
            config=inner.config,
            dtype=inner.dtype,
            output_loading_info=True,
        )
        check_loaded(resume_from_checkpoint, info)
        inner.load_state_dict(saved.state_dict(), strict=True)

    def _save(self, output_dir=None, state_dict=None):
        if state_dict is None:  # names of tensors without those of the wrappers
            state_dict = self._inner(self.model).state_dict()
        super()._save(output_dir, state_dict)

    def _inner(self, model: Any) -> Any:
        """The model inside compilation and data parallelism; adapters of peft stay around it."""
        return self.accelerator.unwrap_model(model, keep_torch_compile=False)


class _ResumedLog(TrainerCallback):
    """Gives the sums of an interrupted log back to the Trainer, after it has set them to zero."""

    KEY = "resumed_log"

    def __init__(self, trainer: RelViTTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        callbacks: Any = state.stateful_callbacks or {}
        window = callbacks.get(self.KEY)
        if window and state.global_step:
            self.trainer.restore_log(window)


class _Progress(ProgressCallback):
    """One bar with the latest numbers, not one line per log, and an estimate of the time of a long training."""

    _WARM_STEPS = 2
    _TIMED_STEPS = 10
    _LONG = 3_600  # seconds that deserve a line

    _SHOWN = {
        "loss": "loss",
        "pipeline_loss": "pipeline",
        "disentanglement_loss": "disentanglement",
        "eval_validation_accuracy": "validation accuracy",
    }

    def on_train_begin(self, args, state, control, **kwargs):
        self.shown = {}
        self.current_step = 0
        self.first_step = state.global_step + self._WARM_STEPS
        self.first_time = time.monotonic()
        if state.is_world_process_zero:
            self.training_bar = progress_bar(total=state.max_steps, desc="training")

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if (
            self.prediction_bar is None
            and state.is_world_process_zero
            and has_length(eval_dataloader)
        ):
            total = len(eval_dataloader)  # type: ignore[arg-type]
            self.prediction_bar = progress_bar(total=total, desc="validation", leave=False)
        if self.prediction_bar is not None:
            self.prediction_bar.update(1)

    def on_step_end(self, args, state, control, **kwargs):
        super().on_step_end(args, state, control, **kwargs)
        steps = state.global_step - self.first_step
        if steps == 0:
            self.first_time = time.monotonic()
        elif steps == self._TIMED_STEPS and self.training_bar and not self.training_bar.disable:
            per_step = (time.monotonic() - self.first_time) / steps
            seconds = per_step * (state.max_steps - state.global_step)
            if seconds > self._LONG:
                self.training_bar.write(
                    f"about {duration(seconds)} of training left for {state.max_steps:,} steps, without evaluations",
                    file=sys.stderr,
                )

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None and logs:
            self.shown |= {
                name: f"{logs[key]:.3f}" for key, name in self._SHOWN.items() if key in logs
            }
            self.training_bar.set_postfix(self.shown)


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the Trainer writes its state last.

    A process killed while it saves leaves a folder that looks like a checkpoint and is none.
    """
    found = []
    for state in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/trainer_state.json"):
        try:
            found.append((read_as(state, TrainerProgress)["global_step"], state.parent))
        except RelViTError:
            continue  # torn by the kill: an older one will do
    return max(found)[1] if found else None
