"""The job for a rented GPU: minutes and cost first; killed, it goes on elsewhere with what the Hub has."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import HfApi
from huggingface_hub.cli._uv_script_header import parse_uv_script_header

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "gpu_job.py"
JOB = runpy.run_path(str(SCRIPT), run_name="job")
REPO = "relvit/gpu"


def header() -> dict:
    lines = re.search(r"^# /// script$\n(.*?)^# ///$", SCRIPT.read_text(), re.DOTALL | re.MULTILINE)
    return tomllib.loads(re.sub(r"^# ?", "", lines[1], flags=re.MULTILINE))


def test_the_header_is_read_by_uv_and_by_hf_jobs():
    assert header()["dependencies"] == ["hf_relvit"]
    job = parse_uv_script_header(SCRIPT.read_text())
    assert (job.flavor, job.timeout, job.secrets) == ("h200", "6h", ["HF_TOKEN"])
    mounts = dict(volume.split(":") for volume in job.volumes)
    assert header()["tool"]["uv"]["find-links"] == [mounts["dist"]]
    assert mounts["examples"] == "/relvit/examples" and mounts["benchmarks"] == "/relvit/benchmarks"


@pytest.mark.parametrize("grid", [*JOB["GRIDS"], JOB["BENCH"]])
@pytest.mark.parametrize("flavor", JOB["FLAVORS"])
def test_minutes_and_cost_come_first(grid, flavor):
    study = None if grid == JOB["BENCH"] else JOB["planned"](grid, reduced=False)
    line = JOB["estimate"](grid, study, flavor, None)
    minutes, dollars = re.search(r"about (\d+) minutes.*about \$([\d.]+) at", line).groups()
    price = JOB["FLAVORS"][flavor].dollars
    assert float(dollars) == pytest.approx(int(minutes) / 60 * price, abs=price / 60)
    assert "estimated, not measured" in line and JOB["PRICES_KNOWN_ON"] in line
    given = JOB["estimate"](grid, study, flavor, 12.0)
    assert "$12.00 per hour, as given" in given
    hours = {"h200": 6}.get(flavor)
    assert hours is None or int(minutes) < 60 * hours  # the time-out of the header


def test_the_estimates_are_those_of_the_grids():
    """Their heads say half an hour, and an hour and a half per task of Table 1."""
    expected = {"replicate-paper-gpu": 28, "table1-gpu-discrimination": 91, "table1-gpu-rmts": 91}
    for name, minutes in expected.items():
        study = JOB["planned"](name, reduced=False)
        assert JOB["minutes"](name, study, "h200") == pytest.approx(minutes, abs=1)


def command(grid: str, out: Path, *options: str, repo: str = REPO) -> list[str]:
    words = [sys.executable, str(SCRIPT), grid, "--reduced", "--repo", repo, "--out", str(out)]
    return [*words, *options]


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Every table of a study, by its place."""
    files = sorted(folder.rglob("*.parquet"))
    found = {str(file.relative_to(folder)): pd.read_parquet(file) for file in files}
    return {place: table for place, table in found.items() if "/data/" not in place}


def assert_equal_tables(one: Path, other: Path) -> None:
    first, second = tables(one), tables(other)
    assert first.keys() == second.keys() != set()
    for place, table in first.items():
        pd.testing.assert_frame_equal(table, second[place], obj=place)


def kill_after(hub, words: list[str], signs: int) -> list[str]:
    """The lines of a job that is killed as soon as it has sent so many commits."""
    with subprocess.Popen(
        words, env=hub.clean_environment(), stdout=subprocess.PIPE, text=True
    ) as job:
        lines = []
        for line in job.stdout:
            lines.append(line)
            signs -= line.startswith("sent to")
            if signs == 0:
                job.kill()
    return lines


def finished(words: list[str], hub) -> str:
    done = hub.run(words)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def remote(hub) -> tuple[set[str], str]:
    api = HfApi(hub.url, token="local-relvit")
    facts = api.repo_info(REPO, repo_type="dataset")
    return {file.rfilename for file in facts.siblings}, facts.sha


SLOW = pytest.mark.slow  # three minutes of tiny cells
GRIDS = [
    "table1-gpu-rmts",
    pytest.param("table1-gpu-discrimination", marks=SLOW),
    pytest.param("replicate-paper-gpu", marks=SLOW),
]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_killed_job_goes_on_on_another_machine(hub, tmp_path, grid):
    lines = kill_after(hub, command(grid, tmp_path / "a", "--every", "0"), signs=3)
    assert "minutes" in lines[0] and "$" in lines[0]
    kept, _ = remote(hub)
    trained = {name for name in kept if name.endswith("training/DONE.json")}
    assert trained and "report.html" not in kept and not any("/data/" in name for name in kept)
    first = tmp_path / "a" / grid
    began = time.time()
    out = finished(command(grid, tmp_path / "b"), hub)
    assert "files fetched" in out
    second = tmp_path / "b" / grid
    for name in trained:
        assert (second / name).read_bytes() == (first / name).read_bytes()
        history = json.loads((second / Path(name).parent / "history.json").read_text())
        assert (
            history["provenance"]
            == json.loads((first / Path(name).parent / "history.json").read_text())["provenance"]
        ), f"trained again after {began}"
    names, head = remote(hub)
    assert "report.html" in names
    assert "is here already" in finished(command(grid, tmp_path / "b"), hub)
    assert remote(hub)[1] == head


@SLOW
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_killed_job_ends_with_the_tables_of_an_uninterrupted_one(hub, tmp_path, grid):
    words = command(grid, tmp_path / "killed", "--every", "0")
    kill_after(hub, words, signs=2)
    finished(words, hub)
    finished(command(grid, tmp_path / "whole", repo=f"{REPO}-whole"), hub)
    assert_equal_tables(tmp_path / "killed" / grid, tmp_path / "whole" / grid)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_benchmark_that_is_there_is_not_measured_again(hub, tmp_path):
    kill_after(hub, command("bench-gpu", tmp_path / "a"), signs=1)
    assert {name for name in remote(hub)[0] if name.endswith(".json")} == {
        "gpu_training_reduced.json"
    }
    out = finished(command("bench-gpu", tmp_path / "b"), hub)
    assert "bench_gpu_training: finished before" in out
    assert "gpu_analysis_reduced.json" in remote(hub)[0]


@pytest.mark.long
def test_bad_input_is_one_line(hub, tmp_path):
    done = hub.run(command("table1-gpu-rmts", tmp_path), token=None)
    assert (
        done.returncode != 0
        and done.stderr.startswith("error: ")
        and "Traceback" not in done.stderr
    )
    done = hub.run([sys.executable, str(SCRIPT), "table1-gpu-rmts", "--reduced"])
    assert done.returncode == 2 and "--repo OWNER/NAME" in done.stderr
