"""`relvit demo`: what it serves, and what it says when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
from interventions.conftest import make_run

from hf_relvit.cli import main
from hf_relvit.spaces.interventions import app, assets

with_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra demo")


def demo(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    return int(caught.value.code or 0)


@pytest.fixture
def started(monkeypatch):
    """What would be served, without a server."""
    calls = []
    monkeypatch.setattr(app, "start", lambda folders, **options: calls.append((folders, options)))
    monkeypatch.setattr(assets, "PAIRS", 16)
    monkeypatch.setattr(assets, "PROBE_SCENES", 64)
    return calls


@with_gradio
def test_the_models_of_the_package(started):
    assert demo("--port", "7999") == 0
    folders, options = started[0]
    assert folders == app.models() and options == {"base": None, "host": None, "port": 7999}


@with_gradio
def test_a_run_is_prepared_once_and_again_when_it_changed(started, tmp_path):
    run = make_run(tmp_path / "seed0", "discrimination")
    assert demo("--run", str(run)) == 0
    folder = started[0][0][0]
    assert folder == run / "demo" / "seed0"
    first = (folder / "about.json").stat().st_mtime_ns
    assert demo("--run", str(run)) == 0
    assert (folder / "about.json").stat().st_mtime_ns == first
    weights = run / "training" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x00\x00")
    assert not assets.fresh(folder, run)
    assert json.loads((folder / "about.json").read_text())["examples"]


@with_gradio
def test_no_run_is_one_line(capsys, tmp_path):
    assert demo("--run", str(tmp_path / "nothing")) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "expected a run of a study" in said


@pytest.mark.parametrize("arguments", [["demo"], ["demo", "--run", "runs/quick/seed0"]])
def test_without_gradio_it_says_what_to_install_before_it_prepares_anything(arguments):
    code = f"import sys; sys.modules['gradio'] = None; from hf_relvit.cli import main; main({arguments})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "pip install 'hf_relvit[demo]'" in done.stderr and "Traceback" not in done.stderr
