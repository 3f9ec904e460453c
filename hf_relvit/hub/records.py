"""Records of backbones on the Hub.

The convention: a model or data set repository holds ``record.jsonl``, as `relvit measure` writes it, or any number of
``records/NAME.jsonl``. A repository is believed no more than a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from ..errors import RelViTError
from ..report.records import check_file_size, read_records
from ..schemas import BackboneRecord
from .client import check_id, hub_errors
from .publish import Remote

_FILE = re.compile(r"record\.jsonl|records/[\w.-]+\.jsonl")
_KINDS = ("dataset", "model")


def open_records(sources: Iterable[str]) -> list[BackboneRecord]:
    """The records of files and of repositories, in this order.

    Args:
        sources: paths of files, or Hub ids.

    Raises:
        RelViTError: as ``report.records.read_records`` and ``fetch_records``.
    """
    found = []
    for source in sources:
        if _is_path(source):
            found += read_records(Path(source))
        else:
            found += fetch_records(source)
    return found


def _is_path(source: str) -> bool:
    """Whether a file is meant, there or not; Hub ids are OWNER/NAME."""
    here = Path(source)
    return here.exists() or here.suffix == ".jsonl" or source.count("/") != 1


def fetch_records(repo: str) -> list[BackboneRecord]:
    """The records of a repository on the Hub; where a data set and a model share a name, the data set comes first.

    Raises:
        RelViTError: no such repository, none that may be read, no network, no records in it, or a file of records that
            is too large or cannot be believed.
    """
    api = HfApi(library_name="hf_relvit")
    check_id(repo)
    heads = {kind: _facts(api, repo, kind) for kind in _KINDS}
    there = {kind: facts for kind, facts in heads.items() if facts is not None}
    if not there:
        raise RelViTError(
            f"{repo} is no file here, and not found on the Hub, or private and not yours: check the name, and that "
            "you are signed in"
        )
    for kind, facts in there.items():
        files = [file.rfilename for file in facts.siblings or []]
        remote = Remote(api, repo, kind, facts.sha, tuple(files))
        if found := records_of(remote):
            return found
    raise RelViTError(
        f"{repo} has no records: expected record.jsonl or records/NAME.jsonl, as `relvit measure` and "
        "`relvit board --repo` make them"
    )


def _facts(api: HfApi, repo: str, kind: str) -> Any:
    """Of a repository of one kind; None if there is no such."""
    with hub_errors(f"{repo}, which is no file here"):
        try:
            return api.repo_info(repo, repo_type=kind)
        except RepositoryNotFoundError:
            return None


def records_of(remote: Remote) -> list[BackboneRecord]:
    """The records of a repository that was looked at; an empty list where it has none.

    Raises:
        RelViTError: a file of records that is too large or cannot be believed.
    """
    names = sorted(name for name in remote.files if _FILE.fullmatch(name))
    if not names:
        return []
    with hub_errors(remote.repo):
        listed: Any = remote.api.get_paths_info(
            remote.repo, names, revision=remote.head, repo_type=remote.repo_type
        )
    for file in listed:  # before anything is fetched
        check_file_size(f"{remote.repo}/{file.path}", file.size)
    found = []
    for name in names:
        found += read_records(remote.fetch(name), f"{remote.repo}/{name}")
    return found


def record_file(model: str) -> str:
    """The file of a backbone's record in the data set of a board, such as "records/openai--clip.jsonl"."""
    return f"records/{model.replace('/', '--')}.jsonl"
