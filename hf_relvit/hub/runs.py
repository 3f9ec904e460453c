"""Publish a run: its checkpoint, tables, figures, alignments and probes, and a card written from them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import (
    EntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .. import __version__
from ..analysis.result import Result
from ..errors import RelViTError
from ..manifest import MANIFEST, check_manifest
from ..modeling.adapters import is_adapter
from ..modeling.configuration_relvit import CODE_FILES, remote_code
from ..owned import results_in
from ..report.card import MARK, Reference, base_model, eval_results, references, run_card
from ..report.results import RESULTS_FILE, RunResults, collect_results
from ..report.run_folder import DATA, TRAINING, RunFolder, StudyFolder
from .bases import Base, check_base, named_base, on_base
from .client import check_id, check_ours, create, hub_errors, signed_in
from .outgoing import cell_file, check_size, checked_files, checked_text, model_file
from .publish import Files, Publication, Remote, by_folder, publish_or_list

EVAL_RESULTS = ".eval_results/relvit.yaml"
RESULT_MARK = "relvit"
"""The tag of every model card of ours: of runs, and of repositories with single results."""


@dataclass(frozen=True)
class RunFiles:
    """Files of a run to be published.

    Attributes:
        files: path in the repository -> the file, or its text where that is generated or cleaned.
        results: of the run.
        left_out: files of the run that stay here.
        notes: remarks, one line each.
    """

    files: Files
    results: RunResults
    left_out: list[str]
    notes: list[str]


def collect_files(path: Path, repo: str, base: Base | None = None) -> RunFiles:
    """Choose, check and clean the files of a run; nothing is copied or sent.

    Args:
        path: a run of a study (``runs/quick/seed0``), a study with one run, or the folder of ``relvit train``.
        repo: name of the repository, for the card.
        base: an adapter's backbone on the Hub, to be named in place of a folder of this machine.

    Raises:
        RelViTError: no such run, not finished, files that changed since they were made, a token in a file, links that
            lead out of the run, or a file above the limit of size.
    """
    run = RunFolder.open(path)
    cells = _finished_cells(run)
    chosen, left_out = _choose(run, cells)
    root = run.path
    report = _report(run)
    if report is not None:
        chosen[report.name] = report
        root = report.parent
    published = checked_files(chosen, root)
    notes = [f"{run.in_run(cell)}: not finished, left out" for cell in _unfinished(run, cells)]
    for name, content in published.items():
        if isinstance(content, bytes):
            notes.append(f"{name}: paths of this machine cut to their last part")
    results = collect_results(run)
    if base is not None:
        published = on_base(published, base)
        results = replace(results, config={**results.config, "backbone": base.id})
    notes += _unnamed_base(results.config)
    files = {**_lacking_code(published), **published, **_generated(results, repo, published)}
    return RunFiles(files, results, sorted(left_out), notes)


def _choose(run: RunFolder, cells: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """Path in the repository -> file, of training, finished cells and figures; and the files that stay here."""
    chosen = _training_files(run)
    left_out = _left_in_training(run, chosen)
    for cell in cells:
        for file in _files(cell):
            name = run.in_run(file)
            if cell_file(name):
                chosen[name] = file
            elif file.name != MANIFEST:
                left_out.append(name)
    for file in _files(run.figures):
        if file.suffix in (".png", ".svg"):
            chosen[f"{run.figures.name}/{file.name}"] = file
    return chosen, left_out


def _unnamed_base(config: Mapping[str, Any]) -> list[str]:
    """The remark on an adapter whose backbone nobody else has; none for any other model."""
    if not config.get("lora") or base_model(config) is not None:
        return []
    backbone = Path(config["backbone"])
    return [
        f"the adapter's base, {backbone.name}, is a folder of this machine: publish it, name it by --base"
    ]


def _lacking_code(published: Collection[str]) -> dict[str, bytes]:
    """The code that opens the model without this package, for a compact run, which leaves it out."""
    if any(name in published for name in CODE_FILES):
        return {}
    return {name: text.encode() for name, text in remote_code().items()}


def _named_base(run: Path, base: str, dry_run: bool) -> Base:
    """The backbone of a run, which must be an adapter."""
    model = RunFolder.open(run).training.model
    if not is_adapter(model):
        raise RelViTError(f"{model} is no adapter, so it needs no base: leave out {base}")
    return named_base(base, dry_run=dry_run)


def _generated(
    results: RunResults,
    repo: str,
    published: Collection[str],
    absent: Collection[Reference] = (),
) -> dict[str, bytes]:
    """Card and results; without links to datasets that are ``absent`` from the Hub."""
    texts = {
        RESULTS_FILE: results.to_json(),
        "README.md": str(run_card(results, repo, list(published), absent)),
        EVAL_RESULTS: eval_results(results, repo, absent),
    }
    return {name: checked_text(name, text) for name, text in texts.items() if text}


def push(
    run: Path,
    repo: str,
    *,
    base: str | None = None,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> str:
    """Publish a run in one commit, so that the repository never holds half of it.

    Files that are there already are not sent again: after an interruption the same call goes on, and a second push of
    the same run changes nothing. Files of an earlier run that this one does not have are removed. Datasets that the
    card would name are looked up first; it links only those that are on the Hub.

    Args:
        run: see :func:`collect_files`.
        repo: "owner/name" of a model repository; made if it does not exist.
        base: Hub id of an adapter's backbone, which is published with it in place of a folder of this machine.
        public: for everybody to see; a new repository is private by default, an existing one stays as it is.
        dry_run: say what would be sent, and send nothing.
        say: is told what happens.

    Returns:
        The address of the repository; in a dry run its name.

    Raises:
        RelViTError: as in :func:`collect_files`; a base for a model that is no adapter, or with other weights; no
            token or one that is not accepted; a repository that is not ours.
    """
    check_id(repo)
    backbone = None if base is None else _named_base(run, base, dry_run)
    collected = collect_files(run, repo, backbone)
    for note in collected.notes:
        say(note)
    config = collected.results.config
    about = f"{config['task']}, {config['geometry']}, seed {config['seed']}"

    def complete(files: Files, remote: Remote) -> Files:
        absent = _absent(remote.api, collected.results, repo, say)
        kept = {name: content for name, content in files.items() if name != EVAL_RESULTS}
        if backbone is not None:
            check_base(RunFolder.open(run).training.model, backbone, remote)
        return {**kept, **_generated(collected.results, repo, files, absent)}

    publication = Publication(
        repo,
        "model",
        MARK,
        collected.files,
        f"{about} (hf_relvit {__version__})",
        complete=complete,
        replaced=is_run_file,
    )
    published = publish_or_list(publication, public=public, dry_run=dry_run, say=say)
    if published is None:
        _say_the_rest(collected, repo, say)
        return repo
    return published.address


def _say_the_rest(collected: RunFiles, repo: str, say: Callable[[str], object]) -> None:
    """Of a dry run: the links of the card, and the files that are not sent."""
    for reference in references(collected.results, repo):
        say(f"the card names {_named(reference)}, if it is on the Hub then")
    if collected.left_out:
        say(f"these stay here: {', '.join(by_folder(collected.left_out))}")


def _absent(
    api: HfApi, results: RunResults, repo: str, say: Callable[[str], object]
) -> list[Reference]:
    """Datasets that the card would name and that are not on the Hub."""
    absent = [reference for reference in references(results, repo) if not _exists(api, reference)]
    for reference in absent:
        say(
            f"{_named(reference)} is not on the Hub, so the card does not link it: relvit data push"
        )
    base = base_model(results.config)
    if base is not None:
        with hub_errors(base):
            if not api.repo_exists(base):
                say(f"the backbone {base} is not on the Hub: the card names it all the same")
    return absent


def _exists(api: HfApi, reference: Reference) -> bool:
    """Whether a published dataset has this config at this revision."""
    with hub_errors(reference.dataset):
        try:
            files = api.list_repo_files(
                reference.dataset, repo_type="dataset", revision=reference.revision
            )
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError):
            return False
    return any(PurePosixPath(name).parts[0] == reference.config for name in files)


def _named(reference: Reference) -> str:
    return f"dataset {reference.dataset}, config {reference.config}, tag {reference.revision}"


def push_result(
    result: Result,
    repo: str,
    *,
    subfolder: str,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> str:
    """Publish the result of an analysis, in a folder of a repository of ours or of a new one.

    Args:
        result: of an analysis.
        repo: "owner/name" of a model repository, such as that of the run; made if it does not exist.
        subfolder: for its files, such as "probes/judgement".
        public: for everybody to see; a new repository is private by default, an existing one stays as it is.
        dry_run: say what would be sent, and send nothing.
        say: is told what happens.

    Returns:
        The address of the repository; in a dry run its name.

    Raises:
        RelViTError: a subfolder that leads out of the repository; a token in a file; a refusal of ``publish``.
    """
    place = PurePosixPath(subfolder)
    if place.is_absolute() or ".." in place.parts or not place.parts:
        raise RelViTError(f"subfolder {subfolder!r}: expected a folder such as probes/judgement")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result.save(folder)
        saved = {f"{place}/{file.relative_to(folder).as_posix()}": file for file in _files(folder)}
        publication = Publication(
            repo,
            "model",
            RESULT_MARK,
            checked_files(saved, folder),
            f"{place} (hf_relvit {__version__})",
            complete=_with_card,
        )
        published = publish_or_list(publication, public=public, dry_run=dry_run, say=say)
    return repo if published is None else published.address


def _with_card(files: Files, remote: Remote) -> Files:
    """With a card of its own for a repository that has none yet."""
    if "README.md" in remote.files:
        return files
    data = ModelCardData(library_name="hf_relvit", tags=[RESULT_MARK, "interpretability"])
    text = (
        f"---\n{data.to_yaml()}\n---\n# Results of hf_relvit\n\nEach folder holds one analysis.\n"
    )
    return {**files, "README.md": str(ModelCard(text)).encode()}


def reserve(repo: str) -> None:
    """Make the repository, private if it is new, before hours of training: a bad token or name costs none of them.

    Raises:
        RelViTError: no token or one that is not accepted; a repository that is not ours.
    """
    api = signed_in(repo)
    check_ours(api, repo, "model", MARK)
    create(api, repo, "model", public=False)


def own_repo(out: Path) -> str:
    """The repository that a folder's name stands for, of the user who is signed in."""
    with hub_errors(out.name):
        user = HfApi(library_name="hf_relvit").whoami()
    return check_id(f"{user['name']}/{out.resolve().name}")


def is_run_file(name: str) -> bool:
    """Whether a file of a repository is one that a push of a run makes, so that the next one may remove it."""
    path = PurePosixPath(name)
    top = path.parts[0]
    if len(path.parts) == 1:
        return model_file(name) or name in (RESULTS_FILE, "report.html")
    if top in ("figures", TRAINING):
        return True
    return cell_file(name) and not top.startswith(".")


def _training_files(run: RunFolder) -> dict[str, Path]:
    training = run.training
    named = {path.relative_to(training.model).as_posix(): path for path in _files(training.model)}
    files = {name: path for name, path in named.items() if model_file(name)}
    for file in (training.config_file, training.history_file):
        files[f"{TRAINING}/{file.name}"] = file
    return files


def _left_in_training(run: RunFolder, chosen: dict[str, Path]) -> list[str]:
    training = run.training
    known = {*chosen.values(), training.card}
    left = [f for f in _files(training.path) if f not in known and f.name != MANIFEST]
    return [run.in_run(file) for file in left]


def _finished_cells(run: RunFolder) -> list[Path]:
    """The finished cells that are published, each looked at for changes."""
    if run.training_alone:
        return []
    if not run.finished(TRAINING):
        raise RelViTError(
            f"the training of {run.path} is not finished: run the study again to go on with it"
        )
    cells = [cell for cell in run.finished_cells() if cell != run.cell(DATA)]  # large, stays here
    for cell in cells:
        for file in _files(cell):
            check_size(file)
        check_manifest(cell)
    return [cell for cell in cells if cell != run.cell(TRAINING)]


def _unfinished(run: RunFolder, finished: list[Path]) -> list[Path]:
    if run.training_alone:
        return []
    tables = {file.parent for file in run.path.rglob("*.parquet")}
    data = run.cell(DATA)
    return sorted(cell for cell in tables - set(finished) if not cell.is_relative_to(data))


def _report(run: RunFolder) -> Path | None:
    """The report of the run; that of its study if it is the only run there."""
    if run.report.is_file():
        return run.report
    study = StudyFolder(run.path.parent)
    alone = len(study.runs()) == 1
    return study.report if alone and study.report.is_file() else None


def _files(folder: Path) -> list[Path]:
    """The files of a folder that are results: neither half-written nor leftovers of file managers."""
    return results_in(folder) if folder.is_dir() else []
