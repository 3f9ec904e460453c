"""A dataset built in shards, as on several machines."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hf_relvit import cli
from hf_relvit.building.build import build
from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError
from hf_relvit.files import file_lock, lock_path

TASKS = {"rmts": "quick-32", "counterfactuals": "rmts-quick-32", "discrimination": "quick-256"}
SIZES = {"n_train": 48, "n_eval": 16}


def make(out, task="rmts", shard=None, num_proc=1, **options):
    settings = BuildConfig(task, TASKS[task], **{**SIZES, **options})
    return build(settings, out, shard=shard, processes=num_proc, say=lambda text: None)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def two_of_three(tmp_path_factory):
    """The shards 1 and 3 of three."""
    out = tmp_path_factory.mktemp("shards") / "rmts"
    for shard in ("3/3", "1/3"):
        make(out, shard=shard)
    return out


@pytest.fixture
def lacking(two_of_three, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(two_of_three, tmp_path / "rmts"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "num_proc"), [("rmts", 1), ("counterfactuals", 1), ("discrimination", 2)]
)
def test_shards_in_any_order_join_to_what_one_machine_writes(tmp_path, task, num_proc):
    for shard, processes in (("3/3", 1), ("1/3", 2), ("2/3", 1)):
        folder = make(tmp_path / "shards", task, shard=shard, num_proc=processes)
        assert folder == tmp_path / "shards" / f"{TASKS[task]}.shards" / shard.replace("/", "-of-")
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        f"{TASKS[task]}.shards"
    ]
    make(tmp_path / "shards", task, num_proc=num_proc)
    make(tmp_path / "one", task, num_proc=num_proc)
    assert contents(tmp_path / "shards") == contents(tmp_path / "one")  # rows, checksums, card
    assert len(open_folder(tmp_path / "shards", TASKS[task])["train"]) == 48


def test_shards_of_machines_without_a_shared_disk(lacking, tmp_path):
    made = make(tmp_path / "elsewhere", shard="2/3")
    shutil.move(made, lacking / "quick-32.shards")
    make(lacking)
    assert contents(lacking) == contents(make(tmp_path / "one").parent)


def test_a_missing_shard_is_named_with_the_command_that_builds_it(lacking):
    with pytest.raises(RelViTError, match=r"lacks the shards 2/3 \(not built") as caught:
        make(lacking)
    command = re.search("`relvit (.*)`", str(caught.value))[1]
    assert command.endswith("--shard 2/3")
    with pytest.raises(SystemExit) as end:
        cli.main(shlex.split(command))
    assert end.value.code == 0
    make(lacking)
    assert not (lacking / "quick-32.shards").exists()


def test_a_damaged_shard_counts_as_missing_and_is_built_again(lacking):
    make(lacking, shard="2/3")
    file = lacking / "quick-32.shards" / "3-of-3" / "test-00000-of-00001.parquet"
    sound = file.read_bytes()
    file.write_bytes(sound[:-1])
    with pytest.raises(RelViTError, match=r"lacks the shards 3/3 "):
        make(lacking)
    make(lacking, shard="3/3")
    assert file.read_bytes() == sound
    make(lacking)


def test_shards_of_other_settings_are_refused(lacking):
    before = contents(lacking)
    for options in ({"shard": "2/3"}, {"shard": "1/3"}, {}):
        with pytest.raises(
            RelViTError, match=r"-of-3 was built with seed 0, not 1: delete it, or choose another"
        ):
            make(lacking, seed=1, **options)
    assert contents(lacking) == before
    make(lacking, shard="2/4")
    with pytest.raises(
        RelViTError, match=r"shards of different totals, 3, 4: build all with .*, or remove"
    ):
        make(lacking)


def test_a_finished_dataset_needs_no_shards(lacking):
    make(lacking, shard="2/3")
    whole = contents(make(lacking).parent)
    assert make(lacking, shard="2/3") == lacking / "quick-32"
    assert contents(lacking) == whole


@pytest.mark.parametrize("shard", ["0/3", "4/3", "2", "2/0", "a/b", "-1/3"])
def test_what_is_no_shard(tmp_path, shard):
    with pytest.raises(
        RelViTError, match=f"shard '{shard}': expected I/K with I from 1 to K, such as 2/8"
    ):
        make(tmp_path, shard=shard)


def test_more_shards_than_rows(tmp_path):
    with pytest.raises(RelViTError, match="shard 2/17: expected at most 16 for a split of 16 rows"):
        make(tmp_path, shard="2/17")


def test_one_shard_is_built_by_one_process(tmp_path):
    with file_lock(tmp_path / "quick-32.shards" / "2-of-3"):
        make(tmp_path, shard="1/3")
        other = subprocess.run(
            [sys.executable, "-c", _program(tmp_path)], capture_output=True, text=True, check=False
        )
    assert re.search(
        r"2-of-3 is being made by process \d+ on .*: wait for it, or end it", other.stderr
    )


def test_what_a_shard_killed_at_its_end_left_is_removed(tmp_path):
    """A stale lock, or scenes rendered for it, kept the folder of the shards."""
    for number in (1, 2):
        folder = make(tmp_path / "killed", shard=f"{number}/2")
        lock_path(folder).write_text("process 1 on this machine")
        stash = folder.with_name(f".{folder.name}.rendered")
        stash.mkdir()
        (stash / "pair-00000000.npz").touch()
    make(tmp_path / "killed", shard="2/2")
    assert not stash.exists()
    make(tmp_path / "killed")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
        "README.md",
        "columns.png",
        "quick-32",
    ]


def _program(out, n_train=48, num_proc=1):
    return (
        "from hf_relvit import BuildConfig, build\n"
        f"settings = BuildConfig('rmts', 'quick-32', n_train={n_train}, n_eval=16)\n"
        f"build(settings, {str(out)!r}, shard='2/3', processes={num_proc})"
    )


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_shard_that_is_killed_leaves_no_worker_and_is_built_again(lacking, tmp_path, signum):
    program = _program(tmp_path / "killed", n_train=90_000, num_proc=2)
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("killed/*.shards/.2-of-3.*/*/*.parquet")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.send_signal(signum)
        assert process.wait(timeout=60) == -signum
        alive = psutil.wait_procs(children, timeout=30)[1]
        for child in alive:
            child.kill()
        assert not alive
    finally:
        process.kill()
    assert not (tmp_path / "killed" / "quick-32.shards" / "2-of-3").exists()
    made = make(tmp_path / "killed", shard="2/3")
    assert [path.name for path in made.parent.iterdir()] == ["2-of-3"]
    shutil.move(made, lacking / "quick-32.shards")
    make(lacking)
