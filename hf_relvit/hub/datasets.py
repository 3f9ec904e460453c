"""Publish a built dataset folder: Parquet, card and picture in one commit, and a tag for the generator's version."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi

from ..building.card import MARK, default_config, render_benchmark, render_card, write_sheet_of
from ..building.dataset_folder import check_folder
from ..building.sheet import SHEET
from ..errors import RelViTError
from ..report.results import version_tag
from ..schemas import DataManifest, DatasetFacts, read_as
from .client import check_id, hub_errors
from .outgoing import checked_files, checked_text
from .publish import Files, Publication, Remote, list_files, publish

_CARD = "README.md"
_BENCHMARK = "eval.yaml"
_INFO = "dataset_info.json"
_FACTS = ("manifest.json", _INFO)  # of each config: what the card is made of


def push_dataset(
    task: str,
    data: str | Path,
    repo: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> str | None:
    """Upload all configs of a folder that ``relvit data build`` made; configs that are published already stay.

    The rows of a version never change: a config that was published under this version of the generator with other
    rows is refused. Files on the Hub are not sent again, so that an interrupted push goes on and a second
    one changes nothing.

    Args:
        task: of the folder, as a check.
        data: the folder.
        repo: "owner/name"; made private if it is new.
        public: make the repository public.
        dry_run: only list files and sizes; nothing is sent, and no account is needed.
        say: gets single lines about each file that is published or would be.

    Returns:
        The commit, None for a dry run.

    Raises:
        RelViTError: a folder that is damaged, of another task or made by several versions; whatever stands between
            this user and that repository (``client``).
    """
    check_id(repo)
    data = Path(data)
    manifests = _checked(data, task)
    version = version_tag(next(iter(manifests.values()))["version"])
    with tempfile.TemporaryDirectory() as scratch:
        facts = Path(scratch)
        files = _collect_files(data, manifests, facts)

        about = f"{task} {version}: {', '.join(manifests)}"
        publication = _publication(repo, files, manifests, facts, about)
        if dry_run:
            listed = dataclasses.replace(publication, files={**files, **_generated(facts, repo)})
            list_files(listed, public=public, say=say)
            say(f"its tag would be {version}")
            return None
        published = publish(publication, public=public)
        _tag(published.api, repo, version, published.commit)
    state = f"published as {version}" if published.changed else "is up to date"
    say(f'{repo} {state}: load_dataset("{repo}", revision="{version}")')
    return published.commit


def _publication(
    repo: str,
    files: Files,
    manifests: dict[str, dict],
    facts: Path,
    about: str,
) -> Publication:
    """The configs as they are sent, with a card that names those on the Hub as well."""

    def complete(files: Files, remote: Remote) -> Files:
        if remote.head is not None:
            _fetch_facts(remote, repo, facts, manifests)
        return {**files, **_generated(facts, repo)}

    def is_of_these(name: str) -> bool:
        config, _, _ = name.partition("/")
        return config in manifests

    return Publication(
        repo,
        "dataset",
        MARK,
        files,
        about,
        complete=complete,
        replaced=is_of_these,
    )


def _generated(facts: Path, repo: str) -> Files:
    """The card and the list of tasks of all configs in ``facts``."""
    texts = {_CARD: render_card(facts, repo), _BENCHMARK: render_benchmark(facts)}
    return {name: checked_text(name, text) for name, text in texts.items()}


def _collect_files(data: Path, manifests: dict[str, dict], facts: Path) -> Files:
    """The checked files of all configs; the card's material is put into ``facts``, cleaned."""
    chosen = {
        f"{config}/{name}": data / config / name
        for config, manifest in manifests.items()
        for name in (*manifest["files"], *_FACTS)
    }
    files = checked_files(chosen, data)
    for config in manifests:
        read_as(data / config / _INFO, DatasetFacts)  # here, as its copies have other names
        (facts / config).mkdir()
        for name in _FACTS:
            content = files[f"{config}/{name}"]
            cleaned = content if isinstance(content, bytes) else content.read_bytes()
            (facts / config / name).write_bytes(cleaned)
    write_sheet_of(data, default_config(list(manifests)), facts / SHEET)
    return {**files, SHEET: facts / SHEET}


def _checked(data: Path, task: str) -> dict[str, dict]:
    """The manifests of a folder whose files are sound, by config."""
    configs = sorted(path.parent.name for path in data.glob("*/manifest.json"))
    if not configs:
        raise RelViTError(
            f"{data} holds no dataset: make one with `relvit data build {task} --out {data}`"
        )
    manifests = {config: check_folder(data, config) for config in configs}
    for config, manifest in manifests.items():
        if manifest["task"] != task:
            raise RelViTError(
                f"{data}/{config} is a dataset of {manifest['task']}, not {task}: name its own task"
            )
    if len(versions := {manifest["version"] for manifest in manifests.values()}) > 1:
        raise RelViTError(
            f"{data} mixes the versions {', '.join(sorted(versions))} of the generator: build it again"
        )
    return manifests


def _fetch_facts(remote: Remote, repo: str, folder: Path, manifests: dict[str, dict]) -> None:
    """Put the facts of configs that only the Hub has into ``folder``; check the rows of those that both have."""
    for path in remote.files:
        config, _, name = path.partition("/")
        if name not in _FACTS or not re.fullmatch(r"\w[\w-]*", config):
            continue
        local = remote.fetch(path)
        if config not in manifests:
            (folder / config).mkdir(exist_ok=True)
            (folder / config / name).write_bytes(local.read_bytes())
        elif name == _FACTS[0]:
            _check_rows(repo, read_as(local, DataManifest), manifests[config])


def _check_rows(repo: str, published: dict, own: dict) -> None:
    def rows(manifest: dict) -> list:
        return [[split["name"], split["checksum"]] for split in manifest["splits"]]

    if published["task"] != own["task"]:
        raise RelViTError(
            f"{repo} holds {published['task']} scenes, not {own['task']}: choose another name"
        )
    if published["version"] == own["version"] and rows(published) != rows(own):
        raise RelViTError(
            f"{repo} has other rows in {own['config']} of version {own['version']} (other sizes, seed, objects): "
            "published rows do not change; choose another name"
        )


def _tag(api: HfApi, repo: str, version: str, commit: str) -> None:
    """Put the tag of the version on the commit. It only ever moves to one that has more configs (``_check_rows``)."""
    with hub_errors(repo):
        tags = {
            tag.name: tag.target_commit
            for tag in api.list_repo_refs(repo, repo_type="dataset").tags
        }
        if tags.get(version) == commit:
            return
        if version in tags:
            api.delete_tag(repo, tag=version, repo_type="dataset")
        api.create_tag(repo, tag=version, revision=commit, repo_type="dataset")
