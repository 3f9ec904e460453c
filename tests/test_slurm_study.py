"""The SLURM array: one task per run, the report after them. SLURM and our commands are stood in for, and note all."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from hf_relvit import cli
from hf_relvit.cli import options

SCRIPT = Path(__file__).parents[1] / "examples" / "slurm_study.sh"
CELLS = [(1, "a-seed0"), (2, "a-seed0"), (3, "b-seed0"), (4, "b-seed0"), (5, "a-seed10")]
RELVIT = f"""#!{sys.executable}
import json, os, sys
words = sys.argv[1:]
open(os.environ["NOTES"], "a").write("relvit " + " ".join(words) + "\\n")
if words[:2] == ["study", "plan"]:
    rows = [dict(number=n, run=run) for n, run in {CELLS}]
    print(json.dumps(dict(cells=rows)) if "--json" in words else "3 runs\\n" * 10_000)
sys.exit(words[-1] == os.environ.get("FAIL"))
"""
SBATCH = """#!/bin/bash
# Does array tasks and jobs at once, as SLURM would later; what waits for a failed array is never done.
echo sbatch "$@" >>"$NOTES"
while [[ $1 == --* ]]; do
    case $1 in
    --array=1-*) last=${1#--array=1-} ;;
    --dependency=afterok:*) [ -z "${FAIL:-}" ] || exit 0 ;;
    esac
    shift
done
for task in $(seq 1 "${last:-1}"); do SLURM_ARRAY_TASK_ID=$task "$@" >/dev/null; done
echo 7
"""


@pytest.fixture
def submit(tmp_path):
    """Submits a study; gives the process and the lines that were noted."""
    for name, text in (("relvit", RELVIT), ("sbatch", SBATCH)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    notes = tmp_path / "notes"
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(**env: str):
        notes.write_text("")
        done = subprocess.run(
            [str(SCRIPT), "grid.yaml", "/shared/out", "--gpus=1"],
            env={**os.environ, "PATH": path, "NOTES": str(notes), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, notes.read_text().splitlines()

    return run


def test_each_task_does_the_cells_of_its_run_then_comes_the_report(submit):
    done, notes = submit()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "3 runs"
    array, report = [line for line in notes if line.startswith("sbatch")]
    assert "--array=1-3" in array and "--gpus=1" in array
    assert "--dependency=afterok:7" in report and "--gpus" not in report
    cells = [int(line.rpartition("--cell ")[2]) for line in notes if "--cell" in line]
    assert cells == [1, 2, 3, 4, 5]
    assert notes[-1] == "relvit study run grid.yaml --out /shared/out"


def test_a_cell_that_fails_ends_its_run_and_no_other(submit):
    _, notes = submit(FAIL="3")
    cells = [int(line.rpartition("--cell ")[2]) for line in notes if "--cell" in line]
    assert cells == [1, 2, 3, 5]
    assert "relvit study run grid.yaml --out /shared/out" not in notes


def test_a_grid_that_is_not_there_submits_nothing(submit):
    done, notes = submit(FAIL="/shared/out")
    assert done.returncode != 0
    assert not any(line.startswith("sbatch") for line in notes)


def test_the_commands_are_those_of_the_command_line(submit, monkeypatch):
    monkeypatch.setattr(options, "check_out", lambda path, **_: path)
    _, notes = submit(RELVIT_OPTIONS="--backbone openai/clip-vit-base-patch16")
    commands = {line for line in notes if line.startswith("relvit")}
    assert all("--backbone openai/clip-vit-base-patch16" in line for line in commands)
    root = get_command(cli.app)
    for line in commands:
        group, name, *words = shlex.split(line)[1:]
        command = root.commands[group].commands[name]
        context = root.make_context("relvit", [], resilient_parsing=True)
        command.make_context(name, words, parent=context)


def test_the_plan_says_the_run_of_each_cell(tmp_path, capsys):
    """As the script reads it."""
    with pytest.raises(SystemExit):
        cli.main(["study", "plan", "quick", "--out", str(tmp_path), "--json"])
    rows = json.loads(capsys.readouterr().out)["cells"]
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["run"] for row in rows} == {"seed0"}
