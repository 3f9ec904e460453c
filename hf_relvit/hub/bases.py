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
from ..modeling.adapters import CONFIG_FILE
from ..modeling.checkpoints import Checkpoint
from ..report.run_folder import TRAINING
from ..training.training_folder import TrainingFolder
from .client import check_id, hub_errors
from .outgoing import checked_files, model_file
from .publish import Files, Publication, Remote, publish_or_list

MARK = "relvit-base"
"""Tag of the card by which we know such a repository as ours."""
_CARD = "README.md"
_TRAINED = TrainingFolder(Path(TRAINING))
"""In a run, by the paths inside it."""
_Edit = Callable[[dict[str, Any], "Base"], dict[str, Any]]


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
    publish_or_list(publication, public=public, dry_run=dry_run, say=say)


def _check_card(folder: Path) -> None:
    card = folder / _CARD
    cure = f"write where the weights come from, their license, and tags: [{MARK}]"
    if not card.is_file():
        raise RelViTError(f"{card} is not there: a backbone is published with its card; {cure}")
    data = ModelCard(card.read_text(encoding="utf-8")).data.to_dict()
    tags = data.get("tags") or []
    if MARK not in tags:
        raise RelViTError(f"{card} has tags {tags}: {cure}")


def named_base(repo: str, *, dry_run: bool) -> Base:
    """A published backbone at its last commit; in a dry run, which needs no network, without the commit.

    Raises:
        RelViTError: a name that the Hub refuses, or the backbone is not there.
    """
    check_id(repo)
    if dry_run:
        return Base(repo)
    with hub_errors(repo):
        return Base(repo, HfApi(library_name="hf_relvit").repo_info(repo).sha)


def check_base(model: Path, base: Base, remote: Remote) -> None:
    """Raise RelViTError unless an adapter was trained on the weights of a published backbone.

    They are fetched for that, but for a repository whose adapter is on this commit of the backbone already.
    """
    named = _name_in_adapter(_read(model / CONFIG_FILE), base)
    if CONFIG_FILE not in remote.files or _read(remote.fetch(CONFIG_FILE)) != named:
        Checkpoint.open(model, base=base.id)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def on_base(files: Files, base: Base) -> Files:
    """Files of runs, in which every adapter names a published backbone in place of a folder.

    Args:
        files: path in the repository -> file or content; adapters may lie in folders.
        base: of all adapters among them.
    """
    edits: dict[str, _Edit] = {}
    for name in files:
        if _ends(name, CONFIG_FILE):
            root = name.removesuffix(CONFIG_FILE)
            edits[name] = _name_in_adapter
            edits[f"{root}config.json"] = _name_in_config
        elif _ends(name, _TRAINED.config_file.as_posix()):
            edits[name] = _name_in_settings
        elif _ends(name, _TRAINED.history_file.as_posix()):
            edits[name] = _name_in_history
    renamed = {name: _edited(files[name], edit, base) for name, edit in edits.items()}
    return {**files, **renamed}


def _ends(name: str, inside: str) -> bool:
    """Whether a file is this one of a run, which may lie in a folder."""
    return f"/{name}".endswith(f"/{inside}")


def _edited(content: Path | bytes, edit: _Edit, base: Base) -> bytes:
    text = content if isinstance(content, bytes) else content.read_bytes()
    values = edit(json.loads(text), base)
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _name_in_adapter(values: dict[str, Any], base: Base) -> dict[str, Any]:
    return {**values, "base_model_name_or_path": base.id, "revision": base.revision}


def _name_in_config(values: dict[str, Any], base: Base) -> dict[str, Any]:
    adapter = {**values["adapter"], "id": base.id, "revision": base.revision}
    return {**values, "adapter": adapter}


def _name_in_settings(values: dict[str, Any], base: Base) -> dict[str, Any]:
    """A backbone from scratch has no name and stays."""
    named = isinstance(values["backbone"], str)
    return {**values, "backbone": base.id} if named else values


def _name_in_history(values: dict[str, Any], base: Base) -> dict[str, Any]:
    provenance = values["provenance"]
    settings = _name_in_settings(provenance["config"], base)
    return {**values, "provenance": {**provenance, "config": settings}}
