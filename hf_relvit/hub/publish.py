"""The one way of publishing: sign in, look whether the repository is ours, create it, send one commit, look it up.

Runs, datasets, results of analyses and the Space differ in their files only; see ``Publication``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from ..errors import RelViTError
from .client import check_id, check_ours, create, hub_errors, signed_in

Files = dict[str, Path | bytes]
"""Path in the repository -> the file or its content."""

_CARD = "README.md"
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Remote:
    """A repository as it was before a push.

    Attributes:
        api: of the user who is signed in.
        repo: "owner/name".
        repo_type: "model", "dataset" or "space".
        head: its last commit; None if it does not exist.
        files: that are there.
    """

    api: HfApi
    repo: str
    repo_type: str
    head: str | None
    files: tuple[str, ...]

    def fetch(self, name: str) -> Path:
        """A copy of one of the files."""
        with hub_errors(self.repo):
            path = self.api.hf_hub_download(
                self.repo, name, repo_type=self.repo_type, revision=self.head
            )
        return Path(path)


def _same(files: Files, remote: Remote) -> Files:
    return files


def _nothing(name: str) -> bool:
    return False


@dataclass(frozen=True)
class Publication:
    """Files to be published, and where.

    Attributes:
        repo: "owner/name".
        repo_type: "model", "dataset" or "space".
        mark: the tag of the card by which we know the repository as ours.
        files: as far as this machine knows them.
        message: of the commit.
        complete: gives the files that also depend on the Hub.
        replaced: whether a file that is there and not sent again is removed.
        options: for the making of the repository.
    """

    repo: str
    repo_type: Literal["model", "dataset", "space"]
    mark: str
    files: Files
    message: str
    complete: Callable[[Files, Remote], Files] = _same
    replaced: Callable[[str], bool] = _nothing
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """A finished push.

    Attributes:
        api: of the user who is signed in.
        commit: the last one of the repository.
        changed: whether the push made it.
        private: whether only its owner sees the repository.
        files: number of files sent or found there.
        address: for a browser.
    """

    api: HfApi
    commit: str
    changed: bool
    private: bool
    files: int
    address: str


def publish(publication: Publication, *, public: bool = False) -> Published:
    """Publish in one commit, so that the repository never holds half of it.

    Files that are there already are not sent again: after an interruption the same call goes on, and a second one
    changes nothing.

    Args:
        publication: files and repository.
        public: for everybody to see; a new repository is private by default, an existing one stays as it is.

    Raises:
        RelViTError: no token or one that is not accepted; a repository that is not ours; a card with dead links.
    """
    repo = publication.repo
    kind = publication.repo_type
    api = signed_in(repo)
    head = check_ours(api, repo, kind, publication.mark)
    present: list[str] = []
    if head is not None:
        with hub_errors(repo):
            present = api.list_repo_files(repo, repo_type=kind, revision=head)
    files = publication.complete(publication.files, Remote(api, repo, kind, head, tuple(present)))
    gone = [name for name in present if publication.replaced(name) and name not in files]
    check_links(files, set(present) - set(gone))
    create(api, repo, kind, public, **publication.options)
    with warnings.catch_warnings():
        # Tables beside a model or an app are meant: the analyses that are published open them again.
        warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
        commit = send(api, repo, kind, files, publication.message, delete=gone, head=head)
    with hub_errors(repo):
        facts: Any = api.repo_info(repo, repo_type=kind, revision=commit)
    _check_arrived(repo, files, {file.rfilename for file in facts.siblings or []})
    folder = {"model": "", "dataset": "datasets/", "space": "spaces/"}[kind]
    return Published(
        api=api,
        commit=commit,
        changed=commit != head,
        private=bool(facts.private),
        files=len(files),
        address=f"{api.endpoint}/{folder}{repo}",
    )


def send(
    api: HfApi,
    repo: str,
    repo_type: str,
    files: dict[str, Path | bytes],
    message: str,
    *,
    delete: Iterable[str] = (),
    head: str | None = None,
) -> str:
    """One commit with these files; those that are there already are not sent again, as after an interruption.

    Args:
        files: path in the repository -> the file or its content.
        delete: files of the repository to remove.
        head: the commit that the caller looked at; if somebody pushed since, nothing changes.

    Returns:
        The commit: the last one, if nothing changed.

    Raises:
        RelViTError: the Hub or the network refused; the commit is then not made, and may be tried again.
    """
    operations: list = [
        CommitOperationAdd(path, content) for path, content in sorted(files.items())
    ]
    operations += [CommitOperationDelete(path) for path in sorted(delete)]
    with hub_errors(repo):
        return api.create_commit(
            repo, operations, commit_message=message, repo_type=repo_type, parent_commit=head
        ).oid


def publish_or_list(
    publication: Publication,
    *,
    public: bool,
    dry_run: bool,
    say: Callable[[str], object],
) -> Published | None:
    """Publish and say where, or in a dry run list the files and send nothing.

    Returns:
        None for a dry run.

    Raises:
        RelViTError: see :func:`publish` and :func:`list_files`.
    """
    if dry_run:
        list_files(publication, public=public, say=say)
        return None
    published = publish(publication, public=public)
    done = "published" if published.changed else "nothing has changed"
    visible = "private" if published.private else "public"
    say(f"{done}: {published.address} ({published.files} files, {visible})")
    return published


def list_files(
    publication: Publication, *, public: bool = False, say: Callable[[str], object]
) -> None:
    """Say which files and folders ``publish`` would send; nothing is sent, and no account is needed.

    Raises:
        RelViTError: a name that the Hub refuses, or a card with dead links.
    """
    check_id(publication.repo)
    check_links(publication.files)
    sizes = {name: _size(content) for name, content in sorted(publication.files.items())}
    for entry, names in by_folder(sizes).items():
        size = sum(sizes[name] for name in names)
        say(f"{size / 1e6:10.3f} MB  {entry}")
    visible = "public" if public else "private"
    say(
        f"{sum(sizes.values()) / 1e6:10.3f} MB  {len(sizes)} files for {publication.repo}, "
        f"{visible} if it is new; nothing was sent"
    )


def by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    """Lines of a listing -> the names behind each: files by name, folders as "das/ (24 files)"."""
    found: dict[str, list[str]] = {}
    for name in names:
        folder, slash, _ = name.partition("/")
        found.setdefault(folder + slash, []).append(name)
    return {_entry(name, len(held)): held for name, held in found.items()}


def _entry(name: str, count: int) -> str:
    if not name.endswith("/"):
        return name
    return f"{name} ({count} file{'s' * (count > 1)})"


def check_links(files: Mapping[str, Path | bytes], present: Iterable[str] = ()) -> None:
    """Raise RelViTError if the card shows or links a file that is not published with it.

    Args:
        files: to be sent; without a card there is nothing to check.
        present: further files of the repository, which stay.
    """
    if _CARD not in files:
        return
    content = files[_CARD]
    text = (content if isinstance(content, bytes) else content.read_bytes()).decode()
    there = {*files, *present}
    folders = {str(parent) for name in there for parent in PurePosixPath(name).parents}
    for link in _LINK.findall(text):
        target = link.split("#")[0].removeprefix("./").rstrip("/")
        inside = target and not re.match(r"[a-z]+:", target)
        if inside and target not in there and target not in folders:
            raise RelViTError(f"the card names {target}, which is not published with it")


def _check_arrived(repo: str, files: Files, there: set[str]) -> None:
    missing = sorted(files.keys() - there)
    if missing:
        raise RelViTError(f"{repo} lacks {missing[0]} after the push: run the same command again")


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
