"""Where a number comes from: versions, machine, seeds."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from importlib.metadata import version

_PACKAGES = ("hf_relvit", "torch", "transformers", "datasets", "numpy", "pillow")


def provenance(**facts) -> dict:
    """Package versions and the machine's kind, with the caller's facts (model, dataset, processor, seed)."""
    return {
        **facts,
        "versions": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": ", ".join(
            [f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} cores", *_gpus()]
        ),
    }


def _gpus() -> list[str]:
    """The GPU's name, if torch is in use and sees one."""
    torch = sys.modules.get("torch")
    return [torch.cuda.get_device_name()] if torch is not None and torch.cuda.is_available() else []


def dataset_checksum(manifest: dict) -> str:
    """16 hexadecimal digits of a built dataset's rows and pixels, from the checksums of its splits."""
    checksums = "".join(split["checksum"] for split in manifest["splits"])
    return hashlib.sha256(checksums.encode()).hexdigest()[:16]
