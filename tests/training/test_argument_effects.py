"""Each argument of Trainer that is called honored does in our Trainer what it does in the plain one, and shows.

Both train the same tiny model on the same images. What neither of them shows on a CPU, such as the bucket size of
several GPUs, is read by methods of Trainer that ours leaves as they are, which the source of both says.
"""

import dataclasses
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_trainer import LOSSES, SCENES, rows, tiny_checkpoint, tiny_trainer, weights
from torch.nn.functional import one_hot
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_relvit.owned import RECORD
from hf_relvit.training import arguments
from hf_relvit.training.data import SceneDataset
from hf_relvit.training.trainer import RelViTTrainer

NO_LOSSES = {"disentanglement": None}
SGD = dict(optim="sgd", learning_rate=0.1)
RANDOM = dict(train_sampling_strategy="random")
BATCHES_OF_24 = dict(per_device_train_batch_size=24)


@dataclass(frozen=True)
class Case:
    """An argument's value, what is set beside it, and whether anything must differ without it."""

    value: dict
    beside: dict = field(default_factory=dict)
    differs: bool = True
    losses: dict = field(default_factory=lambda: LOSSES)


EFFECTS = {
    "learning_rate": Case(dict(learning_rate=1e-2)),
    "weight_decay": Case(dict(weight_decay=0.5)),
    "lr_scheduler_type": Case(dict(lr_scheduler_type="cosine")),
    "lr_scheduler_kwargs": Case(
        dict(lr_scheduler_kwargs={"power": 3.0}), dict(lr_scheduler_type="polynomial")
    ),
    "warmup_steps": Case(dict(warmup_steps=3)),
    "max_grad_norm": Case(dict(max_grad_norm=0.01), SGD),
    "bf16": Case(dict(bf16=True)),
    "seed": Case(dict(seed=7), RANDOM),
    "data_seed": Case(dict(data_seed=7), RANDOM),
    "gradient_checkpointing": Case(dict(gradient_checkpointing=True)),
    "activation_checkpointing": Case(dict(activation_checkpointing=True)),
    "activation_checkpointing_kwargs": Case(
        dict(activation_checkpointing_kwargs={"preserve_rng_state": False}),
        dict(activation_checkpointing=True),
        differs=False,
    ),
    "adam_beta1": Case(dict(adam_beta1=0.5)),
    "adam_beta2": Case(dict(adam_beta2=0.5)),
    "adam_epsilon": Case(dict(adam_epsilon=1e-2)),
    "optim": Case(dict(optim="adafactor")),
    "dataloader_drop_last": Case(dict(dataloader_drop_last=True), BATCHES_OF_24),
    "gradient_accumulation_steps": Case(dict(gradient_accumulation_steps=2)),
    "label_smoothing_factor": Case(dict(label_smoothing_factor=0.2), losses=NO_LOSSES),
    "eval_accumulation_steps": Case(
        dict(eval_accumulation_steps=1), dict(per_device_eval_batch_size=8), differs=False
    ),
    "eval_on_start": Case(dict(eval_on_start=True)),
    "logging_first_step": Case(dict(logging_first_step=True), dict(logging_steps=3)),
    "logging_steps": Case(dict(logging_steps=3)),
    "logging_strategy": Case(dict(logging_strategy="epoch")),
    "per_device_eval_batch_size": Case(
        dict(per_device_eval_batch_size=8), dict(eval_do_concat_batches=False)
    ),
    "save_total_limit": Case(dict(save_total_limit=1)),
    "skip_memory_metrics": Case(dict(skip_memory_metrics=False)),
    "torch_empty_cache_steps": Case(dict(torch_empty_cache_steps=1), differs=False),
    "eval_delay": Case(dict(eval_delay=3)),
    "eval_steps": Case(dict(eval_steps=1)),
    "eval_strategy": Case(dict(eval_strategy="epoch")),
    "eval_do_concat_batches": Case(
        dict(eval_do_concat_batches=False), dict(per_device_eval_batch_size=8)
    ),
    "eval_use_gather_object": Case(dict(eval_use_gather_object=True), differs=False),
    "batch_eval_metrics": Case(dict(batch_eval_metrics=True), dict(per_device_eval_batch_size=8)),
    "include_for_metrics": Case(dict(include_for_metrics=["inputs"])),
    "prediction_loss_only": Case(dict(prediction_loss_only=True)),
    "label_names": Case(dict(label_names=["labels", "shape"])),
    "metric_for_best_model": Case(dict(metric_for_best_model="accuracy")),
    "greater_is_better": Case(dict(greater_is_better=True), dict(metric_for_best_model="loss")),
    "max_steps": Case(dict(max_steps=3)),
    "num_train_epochs": Case(dict(num_train_epochs=2), dict(max_steps=-1)),
    "per_device_train_batch_size": Case(BATCHES_OF_24),
    "save_only_model": Case(dict(save_only_model=True)),
    "save_steps": Case(dict(save_steps=1)),
    "save_strategy": Case(dict(save_strategy="epoch")),
    "train_sampling_strategy": Case(RANDOM),
    "dataloader_in_order": Case(dict(dataloader_in_order=False), differs=False),  # without workers
    "dataloader_pin_memory": Case(dict(dataloader_pin_memory=False), differs=False),
}

ELSEWHERE = {
    "dataloader_num_workers": "test_spawned_workers_draw_the_same_scenes",
    "dataloader_multiprocessing_context": "test_spawned_workers_draw_the_same_scenes",
    "dataloader_persistent_workers": "test_spawned_workers_draw_the_same_scenes",
    "dataloader_prefetch_factor": "test_spawned_workers_draw_the_same_scenes",
    "debug": "test_debugging_watches_the_activations",
    "disable_tqdm": "test_one_bar_unless_bars_are_off",
    "full_determinism": "test_full_determinism_is_switched_on",
    "ignore_data_skip": "test_skipped_data_are_not_skipped_if_that_is_asked_for",
    "load_best_model_at_end": "test_the_best_weights_are_those_that_were_measured",
    "logging_nan_inf_filter": "test_a_loss_that_is_not_a_number_stops_the_run",
    "output_dir": "test_a_resumed_log_is_that_of_an_uninterrupted_training",
    "remove_unused_columns": "test_columns_that_the_losses_need_are_kept_by_default",
    "report_to": "test_a_tracker_gets_every_row_of_the_log",
    "restore_callback_states_from_checkpoint": (
        "test_a_resumed_log_is_that_of_an_uninterrupted_training"
    ),
    "resume_from_checkpoint": "test_a_resumed_log_is_that_of_an_uninterrupted_training",
}

KEYWORDS = {
    "callbacks": lambda checkpoint: {"callbacks": [StopsAtOnce()]},
    "compute_metrics": lambda checkpoint: {"compute_metrics": lambda prediction: {"one": 1.0}},
    "eval_dataset": lambda checkpoint: {"eval_dataset": {"own": SceneDataset(SCENES, "test", 32)}},
    "optimizer_cls_and_kwargs": lambda checkpoint: {
        "optimizer_cls_and_kwargs": (torch.optim.SGD, {"lr": 0.1})
    },
    "optimizers": lambda checkpoint: {
        "optimizers": (torch.optim.SGD(checkpoint.model.parameters(), lr=0.1), None)
    },
    "preprocess_logits_for_metrics": lambda checkpoint: {
        "preprocess_logits_for_metrics": lambda logits, labels: one_hot(labels, 2).float()
    },
    "processing_class": lambda checkpoint: {"processing_class": checkpoint.processor},
    "train_dataset": lambda checkpoint: {"train_dataset": SceneDataset(SCENES, "test", 64)},
}


class StopsAtOnce(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 2


def measured(prediction, compute_result=None):
    """What is handed to the metrics, so that every way of handing it over shows."""
    logits = prediction.predictions
    batches = logits if isinstance(logits, list) else [logits]
    joined = np.concatenate([np.asarray(batch) for batch in batches])
    labels = prediction.label_ids
    return {
        "accuracy": float(joined.argmax(-1).mean()),
        "batches": len(batches),
        "inputs": prediction.inputs is not None,
        "labels": len(labels) if isinstance(labels, tuple) else 0,
        "joined": compute_result is None,
    }


@dataclass
class Trained:
    """What a training leaves: weights, log, files, and what the Trainer holds."""

    weights: dict
    rows: list
    files: list
    best: tuple
    checkpointing: bool

    def shows(self, other):
        """Whether anything differs from another training."""
        same = all(torch.equal(value, other.weights[name]) for name, value in self.weights.items())
        facts = ("rows", "files", "best", "checkpointing")
        return not same or any(getattr(self, name) != getattr(other, name) for name in facts)


def trained(folder, kind, settings, losses=LOSSES, keyword=None):
    checkpoint = tiny_checkpoint(**losses)
    keywords = {"compute_metrics": measured}
    if keyword is not None:
        keywords |= KEYWORDS[keyword](checkpoint)
    made = tiny_trainer(folder, kind=kind, checkpoint=checkpoint, keywords=keywords, **settings)
    made.train()
    modules = made.model.modules()
    checkpointing = any(getattr(module, "gradient_checkpointing", False) for module in modules)
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
    files = sorted(str(path.relative_to(folder)) for path in paths)
    best = (made.state.best_metric, made.state.best_global_step)
    return Trained(weights(made), [steady(row) for row in rows(made)], files, best, checkpointing)


def steady(row):
    """A row of the log without the amounts of memory, which no two runs share, and without our further terms."""
    ours = re.compile("task_loss|disentanglement_loss|eval_(within|between)_.*")
    return {key: 0 if "_mem_" in key else row[key] for key in row if not ours.fullmatch(key)}


BASELINES = {}


def baseline(tmp_path_factory, settings, losses):
    """Our Trainer without the argument; made once for all arguments that stand beside the same."""
    key = repr((settings, losses))
    if key not in BASELINES:
        BASELINES[key] = trained(tmp_path_factory.mktemp("base"), RelViTTrainer, settings, losses)
    return BASELINES[key]


def check(tmp_path_factory, settings, beside, differs, losses=LOSSES, keyword=None):
    ours, plain = (
        trained(tmp_path_factory.mktemp("run"), kind, settings, losses, keyword)
        for kind in (RelViTTrainer, Trainer)
    )
    torch.testing.assert_close(ours.weights, plain.weights, rtol=1e-5, atol=1e-6)
    assert len(ours.rows) == len(plain.rows)
    for our_row, plain_row in zip(ours.rows, plain.rows):
        assert our_row == pytest.approx(plain_row, rel=1e-4, abs=1e-6)
    assert ours.files == plain.files
    assert ours.best == pytest.approx(plain.best)
    assert ours.checkpointing == plain.checkpointing
    assert ours.shows(baseline(tmp_path_factory, beside, losses)) == differs


@pytest.mark.long
@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing:FutureWarning")
def test_an_argument_does_what_it_does_in_the_plain_trainer(tmp_path_factory, name):
    case = EFFECTS[name]
    check(tmp_path_factory, case.beside | case.value, case.beside, case.differs, case.losses)


@pytest.mark.long
@pytest.mark.parametrize("name", KEYWORDS)
def test_a_keyword_does_what_it_does_in_the_plain_trainer(tmp_path_factory, name):
    check(tmp_path_factory, {}, {}, True, keyword=name)


def reads(function):
    """The arguments that a method of Trainer reads."""
    return set(re.findall(r"\bargs\.(\w+)", inspect.getsource(function)))


def overridden():
    """The methods of Trainer that ours has anew."""
    methods = {name: each for name, each in vars(Trainer).items() if inspect.isfunction(each)}
    return {
        name: each for name, each in methods.items() if getattr(RelViTTrainer, name) is not each
    }


HONORED = {*arguments.FIELDS, *arguments.HONORED, *arguments.FREE, *arguments.DECIDED}
SEEN = {*EFFECTS, *ELSEWHERE}


def test_every_argument_that_an_overridden_method_reads_is_tested_by_its_effect():
    fields = {each.name for each in dataclasses.fields(TrainingArguments)}
    read = set.union(*(reads(method) for method in overridden().values()))
    assert read & fields - set(arguments.REFUSED) - SEEN == set()


@pytest.mark.parametrize("name", sorted(HONORED - SEEN))
def test_what_has_no_effect_here_is_left_to_trainer(name):
    """Neither our Trainer nor the methods of Trainer that it has anew mention the argument."""
    mentioned = re.compile(rf"\bargs\.{name}\b")
    ours = [inspect.getsource(each) for each in RelViTTrainer.__mro__[: -len(Trainer.__mro__)]]
    assert not [source for source in ours if mentioned.search(source)]
    assert not [method for method in overridden().values() if name in reads(method)]


def test_what_is_tested_elsewhere_is_there():
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    for name in set(ELSEWHERE.values()):
        assert any(f"def {name}(" in text for text in texts), name
    assert set(SEEN) & set(arguments.REFUSED) == set()
    assert {"args", "model", "data_collator", *KEYWORDS} == {
        name for name, fate in arguments.KEYWORDS.items() if fate.startswith("honored")
    }
