"""The common part of all results of analyses: a table, a figure, and files that open again, from disk or the Hub.

On disk a result is one Parquet file per table, one safetensors file if it has tensors, and one JSON file with the
rest. The JSON file is removed first and written last, so a half-written result does not open.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file, save_file

from ..errors import RelViTError
from ..files import atomic_write, write_json
from ..modeling.checkpoint_errors import as_relvit_error
from ..owned import withdraw
from ..schemas import RESULTS, AnyFacts, read_as
from ..tables import read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Contents:
    """Files of a result on disk.

    Attributes:
        values: of the JSON file.
        tables: by name, without ``.parquet``.
        tensors: of the safetensors file.
        parts: further results, by their subfolder.
    """

    values: dict[str, Any]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    parts: dict[str, Result] = field(default_factory=dict)


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    """As it is saved: in bfloat16 where that holds the same numbers."""
    half = tensor.bfloat16()
    rounded = tensor.is_floating_point() and half.to(tensor.dtype).equal(tensor)
    return (half if rounded else tensor).contiguous()


def _opened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


class Result(ABC):
    """Base of all results of analyses, such as ``AttentionStages, Alignment, Probes``.

    One pair of verbs for all: ``save(folder)`` and ``load(path_or_id)``. ``save_pretrained`` and ``from_pretrained``
    are the same two methods, under the names that users of transformers expect.
    """

    TITLE: ClassVar[str]
    """How messages call it."""
    STEM: ClassVar[str]
    """Name of the JSON file, and of the safetensors file, without ending."""
    TABLES: ClassVar[tuple[str, ...]] = ()
    """Names of the Parquet files, without ending."""
    TENSORS: ClassVar[bool] = False
    """Whether there is a safetensors file."""
    EXAMPLE: ClassVar[str] = ""
    """Where a run keeps such a result, for messages."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """The measurements as a table."""

    @abstractmethod
    def figure(self) -> Figure:
        """The measurements as a figure."""

    def plot(self, path: str | os.PathLike) -> None:
        """Draw the figure to a PNG or SVG file; to both if ``path`` has no such ending."""
        from ..figures.style import paths_by_format, save_figure

        for file in paths_by_format(Path(path)):
            save_figure(
                self.figure(), file
            )  # drawn anew: the layout of one format would shift the next

    @abstractmethod
    def contents(self) -> Contents:
        """Content to be saved."""

    @classmethod
    @abstractmethod
    def restore(cls, contents: Contents) -> Self:
        """The result that has these contents."""

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """Names of the files of a result, the JSON file last: these are published and downloaded."""
        tables = [f"{name}.parquet" for name in cls.TABLES]
        tensors = [f"{cls.STEM}.safetensors"] if cls.TENSORS else []
        return (*tables, *tensors, f"{cls.STEM}.json")

    def save(self, folder: str | os.PathLike) -> None:
        """Write the files; see the head of this module.

        Raises:
            RelViTError: they cannot be written.
        """
        folder = Path(folder)
        problem = f"cannot save the {self.TITLE} {folder}"
        with as_relvit_error(problem, "free some space or choose another folder"):
            contents = self.contents()
            last = folder / f"{self.STEM}.json"
            withdraw(last)
            for name, part in contents.parts.items():
                part.save(folder / name)
            for name, table in contents.tables.items():
                with atomic_write(folder / f"{name}.parquet") as temporary:
                    table.to_parquet(temporary)
            if self.TENSORS:
                tensors = {name: _stored(part) for name, part in contents.tensors.items()}
                with atomic_write(folder / f"{self.STEM}.safetensors") as temporary:
                    save_file(tensors, temporary)
            write_json(last, contents.values)

    @classmethod
    def load(
        cls, path_or_id: str | os.PathLike, *, subfolder: str = "", revision: str | None = None
    ) -> Self:
        """Open a saved result.

        Args:
            path_or_id: folder or Hub id, of the result or of a run.
            subfolder: of a run, such as "das/color-2" or "probes/judgement".
            revision: on the Hub.

        Raises:
            RelViTError: missing or broken files; a subfolder that leads out of the run.
        """
        if ".." in Path(subfolder).parts or Path(subfolder).is_absolute():
            raise RelViTError(
                f"subfolder {subfolder!r} leads out of {path_or_id}: expected one such as {cls.EXAMPLE}"
            )
        shown = f"{path_or_id}/{subfolder}" if subfolder else path_or_id
        problem = f"cannot open the {cls.TITLE} {shown}"
        with as_relvit_error(problem, "check the path or Hub id, or save it again"):
            folder = Path(cls._local(path_or_id, subfolder, revision)) / subfolder
            if not (folder / f"{cls.STEM}.json").is_file():
                raise RelViTError(
                    f"no {cls.TITLE} in {shown}: {cls.STEM}.json cannot be read; of a run, name where it is, "
                    f"for instance subfolder={cls.EXAMPLE!r}; else save it again"
                )
            return cls.restore(cls.read_contents(folder))

    @classmethod
    def read_contents(cls, folder: Path) -> Contents:
        """The contents of a folder. Raises RelViTError, OSError, ValueError or KeyError for broken files."""
        values = read_as(folder / f"{cls.STEM}.json", RESULTS.get(cls.STEM, AnyFacts))
        tables = {name: read_table(folder / f"{name}.parquet") for name in cls.TABLES}
        stored = load_file(folder / f"{cls.STEM}.safetensors") if cls.TENSORS else {}
        tensors = {name: _opened(part) for name, part in stored.items()}
        return Contents(values, tables, tensors)

    @classmethod
    def _local(cls, path_or_id: str | os.PathLike, subfolder: str, revision: str | None):
        if os.path.isdir(path_or_id):
            return path_or_id
        if str(path_or_id).count("/") > 1:  # a Hub id has one; the library speaks of ids alone
            raise FileNotFoundError("there is no such folder")
        wanted = [f"{subfolder}/{name}".lstrip("/") for name in cls.files()]
        return snapshot_download(str(path_or_id), revision=revision, allow_patterns=wanted)

    save_pretrained = save
    from_pretrained = load


class TableResult(Result):
    """A result of one table and its circumstances: ``frame`` and ``facts``."""

    frame: pd.DataFrame
    facts: dict[str, Any]

    def to_frame(self) -> pd.DataFrame:
        return self.frame

    def contents(self) -> Contents:
        return Contents(self.facts, {self.STEM: self.frame})

    @classmethod
    def restore(cls, contents: Contents) -> Self:
        build: Any = cls
        return build(contents.tables[cls.STEM], facts=contents.values)
