"""Checks before a checkpoint is read, and errors of reading and writing it, as one line for the user."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from ..errors import RelViTError
from .config_values import check_values
from .families import refusal

FILE_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""Errors of a missing, corrupt or unwritable file. A configuration that a stranger wrote can raise anything."""


@contextmanager
def as_relvit_error(
    problem: str, cure: str, errors: tuple[type[Exception], ...] = FILE_ERRORS
) -> Iterator[None]:
    """Raise RelViTError "problem: reason; cure" for one of the errors inside the block."""
    try:
        yield
    except RelViTError:
        raise
    except errors as error:
        raise RelViTError(f"{problem}: {_reason(error)}; {cure}") from error


def _reason(error: Exception) -> str:
    """The first sentence of the message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    first = lines[0].strip()
    if first.endswith(":") and len(lines) > 1:  # a headline: transformers names the field in it
        first = f"{first} {lines[1].strip()}"
    sentence = first.split(". ")[0]
    return sentence.rstrip(".!")


@contextmanager
def without_messages(name: str, words: str) -> Iterator[None]:
    """Silence the messages of one logger that contain some words."""

    def wanted(record: logging.LogRecord) -> bool:
        return words not in record.getMessage()

    logger = logging.getLogger(name)
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


def open_config(path_or_id: str | os.PathLike, revision: str | None = None) -> Any:
    """The configuration of a checkpoint; code that it names never runs, whatever waits on standard input.

    Args:
        path_or_id: folder or Hub id.
        revision: on the Hub.

    Raises:
        RelViTError: a model type that transformers does not know, or values that ``config_values`` refuses. A file
            that is missing or broken raises the errors of the library.
    """
    try:
        values, _ = PreTrainedConfig.get_config_dict(
            path_or_id, revision=revision, trust_remote_code=False
        )
    except (AttributeError, TypeError):  # transformers takes a mapping for granted
        values = None
    if not isinstance(values, dict):
        raise RelViTError(
            f"the {CONFIG_NAME} of {path_or_id} holds no mapping: expected the one that was saved with the weights"
        )
    check_values(values)
    kind = values.get("model_type")
    if kind == "timm_wrapper":  # its configuration alone imports timm
        raise RelViTError(refusal(kind))
    if kind is not None and kind not in list(CONFIG_MAPPING):
        raise RelViTError(
            f"{path_or_id} holds a {kind}: expected a model of transformers {transformers.__version__}"
        )
    return AutoConfig.from_pretrained(path_or_id, revision=revision, trust_remote_code=False)


def open_backbone_config(path_or_id: str | os.PathLike, revision: str | None = None) -> Any:
    """The configuration of a backbone, as ``open_config``.

    Raises:
        RelViTError: no configuration, one that needs code of its own, or values that ``config_values`` refuses.
    """
    problem = f"cannot open the backbone {path_or_id}"
    cure = "check the path or Hub id, or download it again"
    with as_relvit_error(problem, cure, (Exception,)):
        return open_config(path_or_id, revision)


ADAPTERS = "adapter_config.json"


def check_weights(path_or_id: str | os.PathLike, revision: str | None) -> None:
    """Make sure that transformers will find safetensors, and so open neither pickles nor files elsewhere.

    Raises:
        RelViTError: no safetensors, an index of shards that names anything but files beside it, or adapters in the
            same folder: where peft is installed, transformers opens the base that they name in place of these weights.
    """
    optional = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
    if cached_file(path_or_id, ADAPTERS, **optional) is not None:
        raise RelViTError(
            f"{path_or_id} has an {ADAPTERS} beside its weights: expected one or the other; merge the adapters with "
            "merge_and_unload(), or remove the file"
        )
    if cached_file(path_or_id, SAFE_WEIGHTS_NAME, **optional) is not None:
        return
    index = cached_file(path_or_id, SAFE_WEIGHTS_INDEX_NAME, **optional)
    if index is None:
        raise RelViTError(
            f"{path_or_id} has no {SAFE_WEIGHTS_NAME}: expected safetensors, as pickles are not opened; save it again",
            page="no-safetensors",
        )
    for name in _shards(Path(index), path_or_id):
        if Path(name).name != name:
            raise RelViTError(
                f"the index of {path_or_id} names {name}, which leads out of it: expected a file name"
            )


def _shards(index: Path, path_or_id: str | os.PathLike) -> set[str]:
    """The files that an index of shards names; checked here, as this module is copied beside models."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (*FILE_ERRORS, TypeError, AttributeError) as error:
        problem = f"the index of shards of {path_or_id} cannot be read ({type(error).__name__})"
        raise RelViTError(
            f"{problem}: expected a weight_map of file names; save it again"
        ) from error
    if not all(isinstance(name, str) for name in names):
        raise RelViTError(f"the index of shards of {path_or_id} names no files: save it again")
    return names
