"""A study whose results live in a repository: fetched where nothing is yet, sent while it goes on.

For machines that keep nothing, such as a job on rented hardware: the next one goes on where the last one was stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import snapshot_download

from .. import __version__
from ..errors import RelViTError
from ..owned import MANIFEST, RECORD, STARTED, move, partial_folder, results_in
from ..report.run_folder import DATA
from .client import check_id, check_ours, create, hub_errors, signed_in
from .publish import Files, Publication, publish

MARK = "relvit-study"
"""Tag of the card by which we know the repository as ours."""
_KIND = "dataset"
_NOT_OF_THE_STUDY = ("README.md", ".gitattributes")
_CARD = f"""---
tags: [{MARK}]
library_name: hf_relvit
---
# A study of hf_relvit

The folder of `relvit study run` as it is on disk: every finished cell with its `{MANIFEST}`. The scenes are left out;
they are drawn again in seconds. It is kept so that the study can go on elsewhere; `relvit push` publishes a run.
"""


def fetch_study(repo: str, out: Path, *, say: Callable[[str], object] = print) -> None:
    """Bring the results of a repository into a folder, which appears only when all of them are there.

    Args:
        repo: "owner/name" of a dataset repository; made, private, if it is not there.
        out: folder of the study. One that exists stays as it is: its results are the newer ones.
        say: is told what happens.

    Raises:
        RelViTError: no token, an owner without rights, a repository of another project.
    """
    api = signed_in(check_id(repo))
    head = check_ours(api, repo, _KIND, MARK)
    create(api, repo, _KIND, public=False)
    if out.exists():
        say(f"{out} is here already: going on with it")
        return
    if head is None:
        return
    with partial_folder(out) as partial:
        with hub_errors(repo):
            cached = snapshot_download(repo, repo_type=_KIND, revision=head)

        def of_the_hub(folder: str, names: list[str]) -> tuple[str, ...]:
            """In the root only: models have cards, too."""
            return _NOT_OF_THE_STUDY if folder == cached else ()

        shutil.copytree(cached, partial, dirs_exist_ok=True, ignore=of_the_hub)
        move(partial, out)
    say(f"{repo}: {len(results_in(out))} files fetched")


def send_study(out: Path, repo: str, *, say: Callable[[str], object] = print) -> str:
    """Send the finished part of a folder, in one commit; files that are there already are not sent again.

    Args:
        out: folder of the study.
        repo: "owner/name" of a dataset repository, private if it is new.
        say: is told what happens.

    Returns:
        The commit: the last one, if nothing changed.

    Raises:
        RelViTError: the Hub or the network refused; nothing is changed then.
    """
    files = finished_files(out)
    publication = Publication(
        repo,
        _KIND,
        MARK,
        {"README.md": _CARD.encode(), **files},
        f"{out.name}: {len(files)} files (hf_relvit {__version__})",
    )
    published = publish(publication)
    if published.changed:
        say(f"sent to {published.address}: {len(files)} files")
    return published.commit


def finished_files(out: Path) -> Files:
    """Path in the repository -> file: all but scenes and cells that are at work.

    Raises:
        RelViTError: there is no such folder.
    """
    if not out.is_dir():
        raise RelViTError(f"{out} is no folder: expected that of a study")
    at_work = {mark.parent for mark in out.rglob(STARTED)}
    records = [path for path in out.rglob(RECORD) if path.is_file()]
    files = {}
    for path in [*results_in(out), *records]:
        steps = path.relative_to(out).parts
        is_scene = DATA in steps[:2]
        if not is_scene and at_work.isdisjoint(path.parents):
            files["/".join(steps)] = path
    return files
