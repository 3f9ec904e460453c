"""A study on a real Ray cluster of several workers, one of them killed in the middle. `make test-cluster`."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from tiny import SMALL_CAUSAL, TINY

pytest.importorskip("ray", reason="needs the extra cluster: make test-cluster")

from hf_relvit.errors import RelViTError
from hf_relvit.study.cluster import run_on_ray
from hf_relvit.study.grid import plan
from hf_relvit.study.run import run_study

pytestmark = pytest.mark.timeout(900)  # on a busy machine a cluster takes minutes to start

GRID = TINY | dict(causal=SMALL_CAUSAL, images=640, evaluations=20, combinations=32, seeds=2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """`ray start --head`, as a person would."""
    scratch = tmp_path_factory.mktemp("ray", numbered=False)
    command = [str(Path(sys.executable).parent / "ray")]
    start = [
        "start",
        "--head",
        "--port=0",
        "--num-cpus=2",
        "--include-dashboard=false",
        f"--temp-dir={scratch}",
    ]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": ""}
    subprocess.run(command + start, check=True, capture_output=True, env=environment, timeout=120)
    yield
    import ray

    ray.shutdown()
    subprocess.run([*command, "stop", "--force"], check=True, capture_output=True, timeout=60)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    return plan(str(tmp_path / "grid.yaml"))


def kill_a_worker_in_training(out: Path) -> None:
    deadline = time.monotonic() + 600
    while not list(out.glob("seed*/training/checkpoints/*/trainer_state.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    titles = {
        process.pid: " ".join(process.info["cmdline"] or [])
        for process in psutil.process_iter(["cmdline"])
    }
    busy = [
        pid for pid, title in titles.items() if title.startswith("ray::") and "training" in title
    ]
    assert busy, titles
    os.kill(busy[0], signal.SIGKILL)


@pytest.mark.filterwarnings("ignore::FutureWarning:ray")
def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(cluster, study, tmp_path):
    killer = threading.Thread(target=kill_a_worker_in_training, args=[tmp_path / "ray"])
    killer.start()
    assert run_on_ray(study, tmp_path / "ray", progress=False) == tmp_path / "ray" / "report.html"
    killer.join()
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "ray").rglob("DONE.json")}
    assert len(times) == 2 * 16
    run_on_ray(study, tmp_path / "ray")
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "ray").rglob("DONE.json")}
    run_study(study, tmp_path / "local", say=lambda line: None)
    for file in (
        "evaluation/accuracy.parquet",
        "das/color-1/scores.parquet",
        "steering/steering.parquet",
    ):
        for seed in ("seed0", "seed1"):
            one, other = (
                pd.read_parquet(tmp_path / where / seed / file) for where in ("ray", "local")
            )
            pd.testing.assert_frame_equal(one, other)


def test_an_error_of_one_cell_does_not_stop_the_others(cluster, study, tmp_path):
    (tmp_path / "broken" / "seed0").mkdir(parents=True)
    (tmp_path / "broken" / "seed0" / "training").write_text("not a folder")
    with pytest.raises(
        RelViTError, match=r"cells failed, first seed0/training: .*finished cells are kept"
    ):
        run_on_ray(study, tmp_path / "broken")
    assert (tmp_path / "broken" / "seed1" / "steering" / "DONE.json").exists()


def test_a_cell_that_asks_for_more_than_there_is(cluster, study, tmp_path):
    with pytest.raises(RelViTError, match="a cell asks for 1 GPUs, the cluster has 0"):
        run_on_ray(study, tmp_path / "gpu", gpus=1)
