"""The card of a dataset folder: a pure function of the manifests in it, so configs built later merge by themselves."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import jinja2
from datasets import DatasetInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from hf_relvit.errors import RelViTError
from hf_relvit.provenance import read_json, whole_file

_MARK = "relvit-scenes"  # a tag of ours in each template's header


def check_card(out: Path, task: str) -> None:
    """Raise RelViTError if ``out`` is another dataset's folder."""
    if (out / "README.md").exists() and _MARK not in (out / "README.md").read_text(encoding="utf-8"):
        raise RelViTError(f"{out} holds another project's README.md: choose another --out")
    for manifest in _manifests(out):
        if manifest["task"] != task:
            raise RelViTError(f"{out} holds {manifest['task']} scenes, not {task}: choose another --out")


def write_card(out: Path) -> None:
    """``README.md``, with the header that tells ``load_dataset`` which files make which config and split."""
    manifests = _manifests(out)
    template = (Path(__file__).parent / manifests[0]["task"] / "README.md").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    card = DatasetCard(environment.from_string(template).render(configs=[_described(m) for m in manifests]))
    infos = {m["config"]: DatasetInfo.from_directory(str(out / m["config"])) for m in manifests}
    DatasetInfosDict(infos).to_dataset_card_data(card.data)
    MetadataConfigs({m["config"]: {"data_files": _data_files(m)} for m in manifests}).to_dataset_card_data(card.data)
    with whole_file(out / "README.md") as temporary:
        temporary.write_text(str(card), encoding="utf-8")


def _manifests(out: Path) -> list[dict]:
    return [read_json(path) for path in sorted(out.glob("*/manifest.json"))]


def _described(manifest: dict) -> dict:
    checksums = "".join(split["checksum"] for split in manifest["splits"])
    return {
        **manifest,
        "checksum": hashlib.sha256(checksums.encode()).hexdigest()[:16],
        "command": rebuild_command(manifest, "DIR"),
    }


def rebuild_command(manifest: dict, out: str | Path) -> str:
    """The command that makes a config once more, bit for bit."""
    options = {"--config": "config", "--n-train": "n_train", "--n-eval": "n_eval", "--seed": "seed"}
    words = [word for option, key in options.items() for word in (option, str(manifest[key]))]
    own = " --masks YOUR_MASKS [--palette YOUR_PALETTE]" if manifest["own_objects"] else ""
    return f"relvit data build {manifest['task']} {' '.join(words)}{own} --out {shlex.quote(str(out))}"


def _data_files(manifest: dict) -> list[dict]:
    """Every shard by name, so that a missing one is an error and not a smaller split."""
    config = manifest["config"]
    return [
        {"split": split["name"], "path": [f"{config}/{name}" for name in split["files"]]}
        for split in manifest["splits"]
    ]
