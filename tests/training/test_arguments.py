"""Every argument of the pinned transformers has exactly one fate, and the page says which."""

import dataclasses
import inspect
from pathlib import Path

import pytest
from transformers import Trainer, TrainingArguments

from hf_relvit.errors import RelViTError
from hf_relvit.training import arguments
from hf_relvit.training.config import TrainConfig

ROOT = Path(__file__).parents[2]
TABLES = (
    arguments.FIELDS,
    arguments.HONORED,
    arguments.FREE,
    arguments.DECIDED,
    arguments.REFUSED,
)


def test_every_argument_of_transformers_stands_in_one_table():
    named = [name for table in TABLES for name in table]
    theirs = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert len(named) == len(set(named))
    assert theirs - set(named) == set()


def test_every_keyword_of_trainer_is_there():
    theirs = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert theirs - set(arguments.KEYWORDS) == set()


def test_the_page_is_todays():
    page = (ROOT / "docs" / "trainer_arguments.md").read_text(encoding="utf-8")
    assert page == arguments.arguments_page()


@pytest.mark.parametrize("name", [*arguments.DECIDED, *arguments.REFUSED, *arguments.FIELDS])
def test_what_cannot_be_set_is_refused_with_its_reason(name):
    with pytest.raises(RelViTError, match=rf"trainer\.{name}: "):
        TrainConfig(trainer={name: 1})


def test_an_unknown_argument_names_the_nearest():
    with pytest.raises(RelViTError, match="did you mean 'adam_beta2'"):
        TrainConfig(trainer={"adam_betta2": 0.9})
