"""Run the notebooks and keep their outputs: `make notebooks`. A cell that fails ends the run; nothing is written."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from hf_relvit.addresses import REPOSITORY, colab_badge

FOLDER = Path(__file__).parents[1] / "notebooks"
SECONDS_PER_CELL = 300


def run(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    name_addresses(notebook, file.stem)
    os.environ["TQDM_DISABLE"] = "1"
    client = NotebookClient(notebook, timeout=SECONDS_PER_CELL, record_timing=False)
    try:
        client.execute(cwd=str(FOLDER))
    except CellExecutionError as error:
        last_line = str(error).strip().splitlines()[-1]
        sys.exit(f"{file.name}: {last_line}")
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [kept(output) for output in cell.outputs if is_shown(output)]
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, file)
    print(f"{file.name}: {len(notebook.cells)} cells")


def name_addresses(notebook: Any, name: str) -> None:
    """The badge of the first cell and the clone of the second are those of ``hf_relvit.addresses``."""
    badge, clone = notebook.cells[:2]
    badge.source = re.sub(r"\[!\[Open in Colab\].*", lambda _: colab_badge(name), badge.source)
    clone.source = re.sub(r"(?<=https://github.com/)\S+", REPOSITORY, clone.source)


def is_shown(output: Any) -> bool:
    """Warnings about the machine that ran it are left out."""
    return output.get("name") != "stderr"


def kept(output: Any) -> Any:
    """Pictures as PNG alone; the kernel sends each as JPEG too."""
    output.get("data", {}).pop("image/jpeg", None)
    return output


def main() -> None:
    wanted = [FOLDER / name for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb"))
    for file in wanted:
        run(file)


if __name__ == "__main__":
    main()
