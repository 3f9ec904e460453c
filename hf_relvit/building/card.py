"""The card of a dataset folder: a pure function of the manifests in it, so configs built later merge by themselves."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import jinja2
from datasets import DatasetInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from hf_relvit import dataset_builders
from hf_relvit.errors import RelViTError

from ..files import atomic_write
from ..owned import check_replaceable
from ..provenance import dataset_checksum
from ..schemas import DataManifest, DatasetFacts, read_as
from ..stimuli.tasks import TASKS
from .montage import write_montage
from .sheet import SHEET, write_sheet

MARK = "relvit-scenes"  # a tag of ours in each template's header


def check_card(out: Path, task: str) -> None:
    """Raise RelViTError if ``out`` is another dataset's folder."""
    if (out / "README.md").exists() and MARK not in (out / "README.md").read_text(encoding="utf-8"):
        raise RelViTError(f"{out} holds another project's README.md: choose another --out")
    manifests = _manifests(out)
    if not manifests and not (out / "README.md").exists():
        check_replaceable(out, [SHEET])
    for manifest in manifests:
        if manifest["task"] != task:
            raise RelViTError(
                f"{out} holds {manifest['task']} scenes, not {task}: choose another --out"
            )


def write_card(out: Path, config: str) -> None:
    """``README.md`` and the picture of the columns that it shows, after ``config`` was built."""
    if (
        config == default_config([m["config"] for m in _manifests(out)])
        or not (out / SHEET).exists()
    ):
        write_sheet_of(out, config, out / SHEET)
    with atomic_write(out / "README.md", owned=True) as temporary:
        temporary.write_text(render_card(out), encoding="utf-8")


def write_sheet_of(out: Path, config: str, png: Path) -> None:
    """The picture of the columns, from the test split of a config."""
    manifest = read_as(out / config / "manifest.json", DataManifest)
    files = next(split["files"] for split in manifest["splits"] if split["name"] == "test")
    if manifest["task"] == "photorealistic":
        write_montage(out / config, files, png)
    else:
        write_sheet(out / config, config, files, png)


def render_card(out: Path, source: str = "PATH_OR_ID") -> str:
    """The card of the configs in a folder, of which only ``manifest.json`` and ``dataset_info.json`` are read.

    Its header tells ``load_dataset`` which files make which config and split. ``source``: what to load.
    """
    manifests = _manifests(out)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    default = default_config([m["config"] for m in manifests])
    name = manifests[0]["task"]
    text = environment.from_string(_template(name)).render(
        configs=[_described(m) for m in manifests],
        source=source,
        default=default,
        sheet=SHEET,
        task=TASKS.get(name),
    )
    card: Any = DatasetCard(text)
    card.data["size_categories"] = [
        _size(sum(split["rows"] for m in manifests for split in m["splits"]))
    ]
    for m in manifests:
        read_as(out / m["config"] / "dataset_info.json", DatasetFacts)
    infos = {m["config"]: DatasetInfo.from_directory(str(out / m["config"])) for m in manifests}
    DatasetInfosDict(infos).to_dataset_card_data(card.data)
    configs: dict[str, dict] = {m["config"]: {"data_files": _data_files(m)} for m in manifests}
    configs[default]["default"] = True
    MetadataConfigs(configs).to_dataset_card_data(card.data)
    return str(card)


def _template(task: str) -> str:
    """The card of a dataset: tasks share one, and say in it what ``Task.card`` holds."""
    folder = "scenes" if task in TASKS else task
    path = Path(dataset_builders.__path__[0]) / folder / "README.md"
    return path.read_text(encoding="utf-8")


def default_config(names: list[str]) -> str:
    """The config that ``load_dataset`` takes if none is named: ViT-B/16 with all combinations, or the first."""
    return next((name for name in names if name.endswith("b16-256")), names[0])


def _size(rows: int) -> str:
    """The Hub's name for a number of rows."""
    names = ("", "1K", "10K", "100K", "1M", "10M")
    place = next(i for i in range(1, 6) if rows < 10 ** (i + 2) or i == 5)
    return f"{names[place - 1]}<n<{names[place]}" if place > 1 else "n<1K"


def _manifests(out: Path) -> list[dict]:
    return [read_as(path, DataManifest) for path in sorted(out.glob("*/manifest.json"))]


def _described(manifest: dict) -> dict:
    return {
        "options": {},
        **manifest,
        "megabytes": sum(facts["bytes"] for facts in manifest["files"].values()) / 1e6,
        "checksum": dataset_checksum(manifest),
        "command": rebuild_command(manifest, "DIR"),
    }


def rebuild_command(manifest: dict, out: str | Path) -> str:
    """The command that makes a config once more, bit for bit."""
    options = {"--config": "config", "--n-train": "n_train", "--n-eval": "n_eval", "--seed": "seed"}
    words = [word for option, key in options.items() for word in (option, str(manifest[key]))]
    words += (
        ["--variant", manifest["variant"]] if manifest.get("variant", "scalar") != "scalar" else []
    )
    for key, value in manifest.get("options", {}).items():
        words += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
    own = " --masks YOUR_MASKS [--palette YOUR_PALETTE]" if manifest["own_objects"] else ""
    return (
        f"relvit data build {manifest['task']} {' '.join(words)}{own} --out {shlex.quote(str(out))}"
    )


def _data_files(manifest: dict) -> list[dict]:
    """Every shard by name, so that a missing one is an error and not a smaller split."""
    config = manifest["config"]
    return [
        {"split": split["name"], "path": [f"{config}/{name}" for name in split["files"]]}
        for split in manifest["splits"]
    ]
