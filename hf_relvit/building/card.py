"""The card of a dataset folder: a pure function of the manifests in it, so configs built later merge by themselves."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import Any

import jinja2
import yaml
from datasets import DatasetInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from hf_relvit import dataset_builders
from hf_relvit.errors import RelViTError

from ..addresses import colab_badge
from ..files import atomic_write
from ..owned import check_replaceable
from ..provenance import dataset_checksum
from ..schemas import DataManifest, DatasetFacts, read_as
from ..stimuli.counterfactuals import PROPERTIES
from ..stimuli.tasks import TASKS
from .montage import write_montage
from .sheet import SHEET, write_sheet

CARD = "README.md"
MARK = "relvit-scenes"  # a tag of ours in each template's header


def check_card(out: Path, task: str) -> None:
    """Raise RelViTError if ``out`` is another dataset's folder."""
    card = out / CARD
    if card.exists() and MARK not in card.read_text(encoding="utf-8"):
        raise RelViTError(f"{out} holds another project's {CARD}: choose another --out")
    manifests = _manifests(out)
    if not manifests and not card.exists():
        check_replaceable(out, [SHEET])
    for manifest in manifests:
        if manifest["task"] != task:
            raise RelViTError(
                f"{out} holds {manifest['task']} scenes, not {task}: choose another --out"
            )


def write_card(out: Path, config: str) -> None:
    """``README.md`` and the picture of the columns that it shows, after ``config`` was built."""
    built = [manifest["config"] for manifest in _manifests(out)]
    sheet = out / SHEET
    if config == default_config(built) or not sheet.exists():
        write_sheet_of(out, config, sheet)
    with atomic_write(out / CARD, owned=True) as temporary:
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

    Its header tells ``load_dataset`` which files make which config and split. ``source``: to load from.
    """
    manifests = _manifests(out)
    configs: dict[str, dict] = {}
    for manifest in manifests:
        configs[manifest["config"]] = {"data_files": _data_files(manifest)}
    infos = _infos(out, list(configs))
    default = default_config(list(configs))
    configs[default]["default"] = True
    name = manifests[0]["task"]
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    text = environment.from_string(_template(name)).render(
        configs=[_described(manifest) for manifest in manifests],
        source=source,
        default=default,
        sheet=SHEET,
        colab=colab_badge("stimuli"),
        task=TASKS.get(name),
    )
    card: Any = DatasetCard(text)
    card.data["size_categories"] = [_size(manifests)]
    infos.to_dataset_card_data(card.data)
    MetadataConfigs(configs).to_dataset_card_data(card.data)
    return str(card)


def render_benchmark(out: Path) -> str:
    """``eval.yaml``, by which the Hub knows a data set as a benchmark: a task for each config and split but train.

    Read are the manifests of the configs. The Hub shows the scores that models give for a task in ``.eval_results``,
    once it has the data set on its list of benchmarks. No framework is named: ``relvit evaluate`` is the code.
    """
    manifests = _manifests(out)
    name = manifests[0]["task"]
    question = TASKS[name].question if name in TASKS else f"Same or different, {name}"
    endings = [f"_{each}" for each in PROPERTIES] if name == "counterfactuals" else [""]
    tasks = []
    for manifest in manifests:
        splits = [split["name"] for split in manifest["splits"] if split["name"] != "train"]
        for split, ending in itertools.product(splits, endings):
            identity = benchmark_task(manifest["config"], f"{split}{ending}")
            tasks.append({"id": identity, "config": manifest["config"], "split": split})
    about = (
        f"{question} Scores are shares from 0 to 1, higher is better; measured by relvit evaluate."
    )
    facts = {"name": f"hf_relvit {name}", "description": about, "tasks": tasks}
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def benchmark_task(config: str, split: str) -> str:
    """Id of a task of a benchmark, the same in ``eval.yaml`` of the data set and ``.eval_results`` of models."""
    return f"{config}-{split}"


def _template(task: str) -> str:
    """The card of a dataset: tasks share one, and fill it from ``Task.card``."""
    folder = "scenes" if task in TASKS else task
    path = Path(dataset_builders.__path__[0]) / folder / "README.md"
    return path.read_text(encoding="utf-8")


def default_config(names: list[str]) -> str:
    """The config that ``load_dataset`` takes if none is named: ViT-B/16 with all combinations, or the first."""
    return next((name for name in names if name.endswith("b16-256")), names[0])


def _infos(out: Path, configs: list[str]) -> DatasetInfosDict:
    """The features and sizes that are saved beside each config."""
    infos = DatasetInfosDict()
    for config in configs:
        folder = out / config
        read_as(folder / "dataset_info.json", DatasetFacts)
        infos[config] = DatasetInfo.from_directory(str(folder))
    return infos


def _size(manifests: list[dict]) -> str:
    """The Hub's name for the number of rows of all configs."""
    rows = sum(split["rows"] for manifest in manifests for split in manifest["splits"])
    if rows < 1_000:
        return "n<1K"
    names = ("1K", "10K", "100K", "1M", "10M")
    decade = min(len(str(rows)) - 4, len(names) - 2)
    return f"{names[decade]}<n<{names[decade + 1]}"


def _manifests(out: Path) -> list[dict]:
    return [read_as(path, DataManifest) for path in sorted(out.glob("*/manifest.json"))]


def _described(manifest: dict) -> dict:
    size = sum(facts["bytes"] for facts in manifest["files"].values())
    return {
        "options": {},
        **manifest,
        "megabytes": size / 1e6,
        "checksum": dataset_checksum(manifest),
        "command": rebuild_command(manifest, "DIR"),
    }


def rebuild_command(manifest: dict, out: str | Path) -> str:
    """The command that makes a config once more, bit for bit."""
    options = {key: manifest[key] for key in ("config", "n_train", "n_eval", "seed")}
    variant = manifest.get("variant", "scalar")
    if variant != "scalar":
        options["variant"] = variant
    options.update(manifest.get("options", {}))
    words = ["relvit data build", manifest["task"]]
    for key, value in options.items():
        words.append(f"--{key.replace('_', '-')}")
        if value is not True:
            words.append(str(value))
    if manifest["own_objects"]:
        words.append("--masks YOUR_MASKS [--palette YOUR_PALETTE]")
    return f"{' '.join(words)} --out {shlex.quote(str(out))}"


def _data_files(manifest: dict) -> list[dict]:
    """Every shard by name, so that a missing one is an error and not a smaller split."""
    config = manifest["config"]
    files = []
    for split in manifest["splits"]:
        paths = [f"{config}/{name}" for name in split["files"]]
        files.append({"split": split["name"], "path": paths})
    return files
