"""Publish a built dataset folder: Parquet, card and picture in one commit, and a tag for the generator's version."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi

from ..building.build import check_folder
from ..building.card import MARK, default_config, render_card, write_sheet_of
from ..building.sheet import SHEET
from ..errors import RelViTError
from ..files import read_json
from ..report.results import version_tag
from .client import check_id, check_ours, create, hub_errors, send, signed_in

_FACTS = ("manifest.json", "dataset_info.json")  # of each config: what the card is made of


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
    rows is refused. What is on the Hub already is not sent again, so that an interrupted push goes on and a second
    one changes nothing.

    Args:
        task: of the folder, as a check.
        data: the folder.
        repo: "owner/name"; made private if it is new.
        public: make the repository public.
        dry_run: only list files and sizes; nothing is sent, and no account is needed.
        say: is told, in single lines, what is published or would be.

    Returns:
        The commit, None for a dry run.

    Raises:
        RelViTError: a folder that is damaged, of another task or made by several versions; whatever stands between
            this user and that repository (``client``).
    """
    data, manifests = Path(data), _checked(Path(data), task)
    version = version_tag(next(iter(manifests.values()))["version"])
    check_id(repo)
    with tempfile.TemporaryDirectory() as scratch:
        stage = Path(scratch)
        for config in manifests:
            (stage / config).mkdir()
            for name in _FACTS:
                (stage / config / name).write_bytes((data / config / name).read_bytes())
        write_sheet_of(data, default_config(list(manifests)), stage / SHEET)
        files: dict[str, Path | bytes] = {SHEET: stage / SHEET}
        for config, manifest in manifests.items():
            files |= {
                f"{config}/{name}": data / config / name for name in (*manifest["files"], *_FACTS)
            }
        if dry_run:
            files["README.md"] = render_card(stage, repo).encode()
            return _list(files, repo, version, public, say)
        api = signed_in(repo)
        head = check_ours(api, repo, "dataset", MARK)
        there = _published(api, repo, head, stage, manifests) if head else []
        files["README.md"] = render_card(stage, repo).encode()
        create(api, repo, "dataset", public)
        stale = {path for path in there if path.split("/")[0] in manifests} - files.keys()
        message = f"{task} {version}: {', '.join(manifests)}"
        commit = send(api, repo, "dataset", files, message, delete=stale, head=head)
        _tag(api, repo, version, commit)
    state = "is up to date" if commit == head else f"published as {version}"
    say(f'{repo} {state}: load_dataset("{repo}", revision="{version}")')
    return commit


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


def _list(files: dict, repo: str, version: str, public: bool, say: Callable[[str], object]) -> None:
    sizes = {
        name: len(f) if isinstance(f, bytes) else f.stat().st_size
        for name, f in sorted(files.items())
    }
    for name, size in sizes.items():
        say(f"{size:>14,}  {name}")
    visible = "public" if public else "private if it is new"
    say(
        f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files, for {repo} ({visible}) and its tag {version}"
    )


def _published(
    api: HfApi, repo: str, head: str, stage: Path, manifests: dict[str, dict]
) -> list[str]:
    """The files that are there; the facts of configs that only the Hub has are put into ``stage``."""
    with hub_errors(repo):
        files = api.list_repo_files(repo, repo_type="dataset", revision=head)
        for path in files:
            config, _, name = path.partition("/")
            if name not in _FACTS or not re.fullmatch(r"\w[\w-]*", config):
                continue
            local = Path(api.hf_hub_download(repo, path, repo_type="dataset", revision=head))
            if config not in manifests:
                (stage / config).mkdir(exist_ok=True)
                (stage / config / name).write_bytes(local.read_bytes())
            elif name == "manifest.json":
                _check_rows(repo, read_json(local), manifests[config])
    return files


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
