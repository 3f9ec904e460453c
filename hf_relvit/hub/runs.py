"""Publish a run: its checkpoint, tables, figures, alignments and probes, and a card written from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi

from .. import __version__
from ..errors import RelViTError
from ..manifest import MANIFEST, check_manifest
from ..report.card import MARK, eval_results, run_card
from ..report.redaction import without_paths
from ..report.results import FILE, RunResults, collect
from .allowed import cell_file, check_size, checked, model_file
from .client import check_id, check_ours, create, hub_errors, send, signed_in

EVAL_RESULTS = ".eval_results/relvit.yaml"


@dataclass(frozen=True)
class Stage:
    """What would be published.

    Attributes:
        files: path in the repository -> the file, or its text where that is generated or cleaned.
        results: of the run.
        left_out: files of the run that stay here.
        notes: what is worth saying, a line each.
    """

    files: dict[str, Path | bytes]
    results: RunResults
    left_out: list[str]
    notes: list[str]

    def sizes(self) -> dict[str, int]:
        return {
            name: len(f) if isinstance(f, bytes) else f.stat().st_size
            for name, f in self.files.items()
        }


def stage(run: Path, repo: str) -> Stage:
    """Choose, check and clean the files of a run; nothing is copied or sent.

    Args:
        run: a run of a study (``runs/quick/seed0``), a study with one run, or what ``relvit train`` wrote.
        repo: name of the repository, for the card.

    Raises:
        RelViTError: no such run, not finished, files that changed since they were made, a token in a file, links that
            lead out of the run, or a file above the limit of size.
    """
    run, training, cells, notes = _open(Path(run))
    found: dict[str, Path] = {p.name: p for p in (training / "model").iterdir()}
    files = {name: path for name, path in found.items() if model_file(name)}
    left_out = [
        f"training/model/{name}" for name in found if name not in files and name != "README.md"
    ]
    files |= {f"training/{name}": training / name for name in ("config.json", "history.json")}
    left_out += [str(p.relative_to(run)) for p in _files(training) if p.parent != training / "model"
                 and p.name not in ("config.json", "history.json", MANIFEST)]  # fmt: skip
    kept = {}
    for folder in cells:
        for path in _files(folder):
            name = path.relative_to(run).as_posix()
            if cell_file(name):
                kept[name] = path
            elif path.name != MANIFEST:
                left_out.append(name)
    files |= kept
    files |= {
        f"figures/{p.name}": p for p in _files(run / "figures") if p.suffix in (".png", ".svg")
    }
    report = next(
        (p for p in (run / "report.html", run.parent / "report.html") if p.is_file()), None
    )
    if report is not None and (report.parent == run or len(_runs(run.parent)) == 1):
        files["report.html"] = report

    root = run.parent if report is not None and report.parent != run else run
    published: dict[str, Path | bytes] = {}
    for name, path in sorted(files.items()):
        published[name] = checked(name, path, root)
        if isinstance(published[name], bytes):
            notes.append(f"{name}: paths of this machine cut to their last part")
    manifest = next(iter(sorted(run.glob("data/*/manifest.json"))), None)
    results = collect(training, kept, manifest)
    generated = {
        FILE: results.to_json(),
        "README.md": str(run_card(results, repo, list(published))),
    }
    if scores := eval_results(results):
        generated[EVAL_RESULTS] = scores
    for name, text in generated.items():
        published[name] = (without_paths(name, text) or text).encode()
    return Stage(published, results, sorted(left_out), notes)


def push(
    run: Path,
    repo: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> str:
    """Publish a run in one commit, so that the repository never holds half of it.

    Files that are there already are not sent again: after an interruption the same call goes on, and a second push of
    the same run changes nothing. Files of an earlier run that this one does not have are removed.

    Args:
        run: see :func:`stage`.
        repo: "name" (of your own) or "owner/name" of a model repository; made if it does not exist.
        public: for everybody to see; a new repository is private by default, an existing one stays as it is.
        dry_run: say what would be sent, and send nothing.
        say: is told what happens.

    Returns:
        The address of the repository; in a dry run its name.

    Raises:
        RelViTError: as in :func:`stage`; no token or one that is not accepted; a repository that is not ours.
    """
    staged = stage(run, repo)
    for note in staged.notes:
        say(note)
    if dry_run:
        sizes = staged.sizes()
        for name, size in sizes.items():
            say(f"{size / 1e6:10.3f} MB  {name}")
        say(f"{sum(sizes.values()) / 1e6:10.3f} MB  {len(sizes)} files for {repo}, "
            f"{'public' if public else 'private'} if it is new; nothing was sent")  # fmt: skip
        if staged.left_out:
            say(f"these stay here: {', '.join(staged.left_out)}")
        return repo
    return _send(staged, repo, public, say)


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
        return check_id(f"{HfApi(library_name='hf_relvit').whoami()['name']}/{out.resolve().name}")


def _send(staged: Stage, repo: str, public: bool, say: Callable[[str], object]) -> str:
    api = signed_in(repo)
    head = check_ours(api, repo, "model", MARK)
    create(api, repo, "model", public)
    with hub_errors(repo):
        facts = api.repo_info(repo)
    present = [file.rfilename for file in facts.siblings or []]
    config = staged.results.config
    with warnings.catch_warnings():
        # Tables in a repository of a model are meant: the analyses that are published open them again.
        warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
        commit = send(
            api,
            repo,
            "model",
            staged.files,
            f"{config['task']}, {config['geometry']}, seed {config['seed']} (hf_relvit {__version__})",
            delete=[name for name in present if ours(name) and name not in staged.files],
            head=head,
        )
    address = f"{api.endpoint}/{repo}"
    done = "nothing has changed" if commit == head else "published"
    say(
        f"{done}: {address} ({len(staged.files)} files, {'private' if facts.private else 'public'})"
    )
    return address


def ours(name: str) -> bool:
    """Whether a file of a repository is one that a push of a run makes, so that the next one may remove it."""
    parts = PurePosixPath(name).parts
    return (
        (len(parts) == 1 and (model_file(name) or name in (FILE, "report.html")))
        or parts[0] in ("figures", "training")
        or (len(parts) > 1 and cell_file(name) and not parts[0].startswith("."))
    )


def _open(run: Path) -> tuple[Path, Path, list[Path], list[str]]:
    """The folder of the run, of its training, of its finished cells, and notes on those that are not."""
    if not (run / "training").is_dir() and len(runs := _runs(run)) == 1:
        run = runs[0]
    elif len(runs := _runs(run)) > 1:
        raise RelViTError(
            f"{run} holds {len(runs)} runs: push them one by one, for instance relvit push {runs[0]} --repo NAME"
        )
    training = run / "training" if (run / "training").is_dir() else run
    needed = [training / name for name in ("model/config.json", "config.json", "history.json")]
    if missing := [path for path in needed if not path.is_file()]:
        raise RelViTError(
            f"{run} holds no finished run ({missing[0].name} is missing): expected a run of a study, such as "
            "runs/quick/seed0, or what relvit train wrote; finish it with the command that began it"
        )
    if training == run:
        return run, training, [], []
    done = sorted(path.parent for path in run.rglob(MANIFEST))
    unfinished = {
        p.parent for p in run.rglob("*.parquet") if "data" not in p.relative_to(run).parts
    } - set(done)
    if not (training / MANIFEST).is_file():
        raise RelViTError(
            f"the training of {run} is not finished: run the study again to go on with it"
        )
    data = run / "data"
    for cell in done:
        if cell != data:  # the stimuli are not published, and large
            for path in _files(cell):
                check_size(path)
            check_manifest(cell)
    notes = [f"{cell.relative_to(run)}: not finished, left out" for cell in sorted(unfinished)]
    return run, training, [cell for cell in done if cell not in (data, training)], notes


def _runs(study: Path) -> list[Path]:
    return sorted(path.parents[1] for path in study.glob("*/training/config.json"))


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
