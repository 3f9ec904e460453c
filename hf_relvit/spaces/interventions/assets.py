"""From a run to the demo's files: checkpoint, alignments, probes, and how often interventions work.

python -m hf_relvit.spaces.interventions.assets runs/quick/seed0 runs/demo
python -m hf_relvit.spaces.interventions.assets released/clip-discrimination
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.probes import fit_probes
from hf_relvit.errors import RelViTError
from hf_relvit.files import atomic_write, write_json
from hf_relvit.modeling.adapters import CONFIG_FILE, WEIGHTS_FILE
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.owned import withdraw
from hf_relvit.provenance import provenance
from hf_relvit.recipes.probes import probe_cell
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.stimuli.scenes import SceneTable
from hf_relvit.tables import select

from .counting import count_interventions
from .examples import find_examples
from .served import ABOUT, JUDGEMENT, is_large, open_model, open_served

_CHECKPOINT = (
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    CONFIG_FILE,
    WEIGHTS_FILE,
)
"""Files of a checkpoint; it has the weights of the model or those of an adapter."""
PAIRS = 200
"""Pairs and scenes that interventions are counted on."""
PROBE_SCENES = 4000
"""As in the paper."""


def build_assets(
    run: Path, folder: Path, *, title: str | None = None, base: str | os.PathLike | None = None
) -> Path:
    """Collect, fit and measure the demo's needs; a folder that has its ``about.json`` is complete.

    The folder is a run folder, too: the checkpoint, the alignments (of each only the rows of its subspace) and the
    probes of the judgement. The probes, and how often swaps, steering and novel values change the answer, come from
    the run, or are fitted and counted here on the IID test split; for a large model they come from the run alone.

    Args:
        run: a run of a study, with ``training/model`` and ``das/<property>-<layer>``.
        folder: to write; the run's own, to add the ``about.json`` to a run that is small and complete.
        title: shown in the list of models; task and size of the model by default.
        base: folder of an adapter's backbone; the Hub's by default.

    Raises:
        RelViTError: no finished run there, no alignments, or shapes and colors other than ours.
    """
    trained = RunFolder(Path(run))
    _check_run(trained)
    source = trained.training.model
    checkpoint = open_model(source, base)
    if not checkpoint.model.config.scenes:
        raise RelViTError(
            f"{source} does not say what it was trained on: train it with relvit train"
        )
    test = checkpoint.distribution().sample("test", PAIRS)
    if folder.resolve() != trained.path.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        withdraw(folder / ABOUT)
        _copy(trained, RunFolder(folder), checkpoint, test)
    about = _about(trained, RunFolder(folder), checkpoint, test)
    if title is not None:
        about["title"] = title
    about["examples"] = find_examples(open_served(folder, about, base=base))
    write_json(folder / ABOUT, about)
    return folder


def _copy(run: RunFolder, small: RunFolder, checkpoint: Checkpoint, test: SceneTable) -> None:
    """The files of a run that are needed to serve it."""
    model = run.training.model
    for name in _CHECKPOINT:
        if not (model / name).is_file():
            continue
        with atomic_write(small.training.model / name) as temporary:
            shutil.copyfile(model / name, temporary)
    for cell in run.alignment_folders():
        alignment = _compact(Alignment.from_pretrained(cell))
        alignment.save(small.cell(run.in_run(cell)))
    if run.finished(probe_cell(JUDGEMENT)):
        probes = run.probes(JUDGEMENT)
    elif is_large(checkpoint):
        raise RelViTError(
            f"{run.path} has no probes of the judgement: let its study make the analysis probes first"
        )
    else:
        train = checkpoint.distribution().sample("train", PROBE_SCENES)
        probes = fit_probes(checkpoint, train, test)
    probes.save(small.cell(probe_cell(JUDGEMENT)))


def _about(
    run: RunFolder, small: RunFolder, checkpoint: Checkpoint, test: SceneTable
) -> dict[str, Any]:
    """All of about.json but the examples."""
    alignments = [Alignment.from_pretrained(cell) for cell in small.alignment_folders()]
    probes = small.probes(JUDGEMENT)
    distribution = checkpoint.distribution()
    depth = f"{checkpoint.depth} layers of {checkpoint.model.config.hidden_size}"
    return {
        "title": f"{distribution.task}, {depth}",
        "task": distribution.task,
        "geometry": distribution.geometry.name,
        "combinations": distribution.combinations,
        "accuracy": _accuracy(run),
        "measured": count_interventions(
            run, checkpoint, alignments, probes, test, missing=not is_large(checkpoint)
        ),
        "provenance": provenance(pairs=len(test), probe_scenes=PROBE_SCENES),
    }


def _check_run(run: RunFolder) -> None:
    """RelViTError unless the run is finished, and of a kind that the demo can show."""
    if not run.training.finished():
        raise RelViTError(
            f"no checkpoint in {run.training.model}: expected a run of a study, such as runs/quick/seed0"
        )
    if not run.alignment_folders():
        raise RelViTError(f"no alignments in {run.path}: run the study with --causal first")
    if run.config.get("objects"):
        raise RelViTError(
            f"{run.path} was trained on shapes of your own: expected ours, the demo draws no others"
        )


def _compact(alignment: Alignment) -> Alignment:
    """Without the rows outside its subspace and the history of the search."""
    facts = alignment.facts
    kept = {name: facts[name] for name in ("config", "provenance") if name in facts}
    return replace(alignment.compact(), facts=kept)


def fresh(folder: Path, run: Path) -> bool:
    """Whether the folder is complete, and of the run's present weights."""
    if not (folder / ABOUT).is_file():
        return False
    trained = RunFolder(Path(run)).training.model
    served = RunFolder(folder).training.model
    names = [name for name in _CHECKPOINT if (trained / name).is_file()]
    return bool(names) and all(_equal(served / name, trained / name) for name in names)


def _equal(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _accuracy(run: RunFolder) -> dict[str, float]:
    if not run.table_files("accuracy"):
        return {}
    chosen = select(run.table("accuracy"), condition="all")
    return {
        str(split): round(float(accuracy), 4)
        for split, accuracy in zip(chosen.split, chosen.accuracy)
    }


if __name__ == "__main__":
    given: dict[int, Any] = dict(enumerate(sys.argv))
    build_assets(Path(given[1]), Path(given.get(2, given[1])), title=given.get(3))
