"""The backbone of adapters as a repository of its own, and adapters that name it.

An adapter that was trained on a folder of one machine names that folder, and opens nowhere else. Once the folder is
published, the adapters are sent with its id and commit in place of the path.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard

from ..errors import RelViTError
from ..modeling import adapters
from ..modeling.checkpoints import Checkpoint
from .client import hub_errors
from .outgoing import checked_files, model_file
from .publish import Files, Publication, list_files, publish

MARK = "relvit-base"
"""Tag of the card by which we know such a repository as ours."""
_CARD = "README.md"


@dataclass(frozen=True)
class Base:
    """A published backbone.

    Attributes:
        id: "owner/name".
        revision: its commit; None for the newest, in a dry run.
    """

    id: str
    revision: str | None = None


def push_base(
    folder: Path,
    repo: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Publish a backbone with its card; a second push of the same changes nothing.

    Args:
        folder: with config, weights, image processor, and a ``README.md`` that says where the weights come from and
            under which license; its tags name ``relvit-base``.
        repo: "owner/name".
        public: for everybody to see. A Space has no token, so it opens a public base only.
        dry_run: list files and sizes, send nothing.
        say: gets each line.

    Raises:
        RelViTError: no such folder, no card, files that lack, no right to write there.
    """
    _check_card(folder)
    chosen = {path.name: path for path in sorted(folder.iterdir()) if model_file(path.name)}
    chosen[_CARD] = folder / _CARD
    if "config.json" not in chosen or not any(name.endswith(".safetensors") for name in chosen):
        raise RelViTError(f"{folder} has no config.json with safetensors: expected a backbone")
    publication = Publication(
        repo,
        "model",
        MARK,
        checked_files(chosen, folder),
        "Publish the backbone of adapters",
        replaced=model_file,
    )
    if dry_run:
        list_files(publication, public=public, say=say)
        return
    published = publish(publication, public=public)
    say(f"{published.files} files: {published.address} at {published.commit[:12]}")


def _check_card(folder: Path) -> None:
    card = folder / _CARD
    cure = f"write where the weights come from, their license, and tags: [{MARK}]"
    if not card.is_file():
        raise RelViTError(f"{card} is not there: a backbone is published with its card; {cure}")
    data = ModelCard(card.read_text(encoding="utf-8")).data.to_dict()
    tags = data.get("tags") or []
    if MARK not in tags:
        raise RelViTError(f"{card} has tags {tags}: {cure}")


def newest(api: HfApi, repo: str) -> Base:
    """A published backbone at its last commit.

    Raises:
        RelViTError: it is not on the Hub.
    """
    with hub_errors(repo):
        return Base(repo, api.repo_info(repo).sha)


def check_base(model: Path, base: str) -> None:
    """Raise RelViTError unless an adapter was trained on the weights of a published backbone."""
    Checkpoint.open(model, base=base)


def is_adapter(model: Path) -> bool:
    return (model / adapters.FOLDER / adapters.CONFIG_FILE).is_file()


def on_base(files: Files, base: Base) -> Files:
    """Files of runs, in which every adapter names a published backbone in place of a folder.

    Args:
        files: path in the repository -> file or content; adapters may lie in folders.
        base: of all adapters among them.
    """
    renamed: Files = dict(files)
    inside = f"{adapters.FOLDER}/{adapters.CONFIG_FILE}"
    for name in files:
        if name != inside and not name.endswith(f"/{inside}"):
            continue
        root = name.removesuffix(inside)
        config = f"{root}config.json"
        renamed[name] = _edited(files[name], _name_in_adapter, base)
        renamed[config] = _edited(files[config], _name_in_config, base)
    return renamed


def _edited(
    content: Path | bytes, edit: Callable[[dict[str, Any], Base], None], base: Base
) -> bytes:
    text = content if isinstance(content, bytes) else content.read_bytes()
    values = json.loads(text)
    edit(values, base)
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _name_in_adapter(values: dict[str, Any], base: Base) -> None:
    values["base_model_name_or_path"] = base.id
    values["revision"] = base.revision


def _name_in_config(values: dict[str, Any], base: Base) -> None:
    values["adapter"]["id"] = base.id
    values["adapter"]["revision"] = base.revision
