"""The pytest fixture ``hub``: a Hub on a free port, and processes whose environment points to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_api

from .server import Hub

_FOREIGN = (
    "HF_",
    "HUGGING_FACE_",
    "HUGGINGFACE_",
    "TRANSFORMERS_",
    "DATASETS_",
)  # settings of the person who tests

_RESOLVE = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(f"{constants.ENDPOINT}/")


class LocalHub(Hub):
    """A Hub with helpers for tests."""

    def __init__(self, folder: Path):
        super().__init__(folder / "storage")
        self.home = folder / "home"

    def run(
        self,
        command: list[str],
        token: str | None = "local-relvit",
        env: dict | None = None,
        **options,
    ):
        """Run a command in a process whose environment points here; the ``CompletedProcess``, whatever its exit code.

        The first word "relvit" or "python" is that of this environment.
        """
        if command[0] in ("relvit", "python"):
            command = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
        return subprocess.run(
            command,
            env=self.clean_environment(token) | (env or {}),
            capture_output=True,
            text=True,
            **options,
        )

    def clean_environment(self, token: str | None = "local-relvit") -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        return (
            own
            | self.environment(self.home, token)
            | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
        )

    def python(
        self, code: str, token: str | None = "local-relvit", env: dict | None = None, **options
    ) -> str:
        """What a clean process prints that runs this code; an AssertionError with its errors if it fails."""
        done = self.run(["python", "-c", code], token, env, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A fresh Hub; calls in this process go to it too, as the user relvit."""
    monkeypatch.setattr(
        constants, "HF_HUB_OFFLINE", False
    )  # loopback only: the endpoint is on this machine
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hub" / "home" / "token"))
    monkeypatch.setenv("HF_TOKEN", "local-relvit")
    with LocalHub(tmp_path / "hub") as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.url)  # of the module's functions
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{_RESOLVE}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield hub
