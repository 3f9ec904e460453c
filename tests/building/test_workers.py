"""Workers are spawned, give their items in any order, and never outlive the process that gave the work out."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from hf_relvit.building.workers import WorkerLost, Workers
from hf_relvit.errors import RelViTError


def count_to(limit):
    yield from range(limit)


def where(number):
    yield os.getpid()


def fail(message):
    yield 1
    try:
        raise OSError(28, message)
    except OSError as error:
        raise ValueError("hides its cause") from error


def end(code):
    os._exit(code)
    yield


def test_every_item_of_every_job_arrives():
    with Workers(2) as workers:
        for _ in range(2):  # the processes serve again
            items = list(workers.run(count_to, [(3,), (0,), (2,), (1,)]))
            assert sorted(items) == [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (3, 0)]
        places = {place for _, place in workers.run(where, [(number,) for number in range(6)])}
    assert len(places) <= 2 and os.getpid() not in places
    assert not any(psutil.pid_exists(place) for place in places)


def test_no_process_is_forked():
    """Handlers that are called at each fork of this process, as other libraries have them, stay silent."""
    code = (
        "import os\n"
        "os.register_at_fork(before=lambda: print('forked', flush=True))\n"
        "from hf_relvit.building.workers import Workers\n"
        "with Workers(2) as workers:\n"
        "    print(sorted(workers.run(range, [(1,), (2,)])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[(0, 0), (1, 0), (1, 1)]\n"


def test_an_error_in_a_worker_is_raised_with_its_cause():
    with pytest.raises(OSError, match="no room") as caught, Workers(1) as workers:
        list(workers.run(fail, [("no room",)]))
    assert caught.value.errno == 28
    assert "in fail" in caught.value.__notes__[0]


def test_a_lost_worker_is_one_line():
    told = pytest.raises(WorkerLost, match=r"ended with code 7, .*: run the same again")
    with told as caught, Workers(2) as workers:
        list(workers.run(end, [(7,), (7,)]))
    assert "\n" not in str(caught.value)


def test_a_script_without_a_guard_is_told_the_cure(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from hf_relvit.building.workers import Workers\n"
        "with Workers(1) as workers:\n"
        "    print(list(workers.run(range, [(1,)])))\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "expected its calls below `if __name__ == '__main__':`" in done.stderr


PROGRAM = (
    "import signal, time\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from hf_relvit.building.workers import Workers\n"
    "print('ready', flush=True)\n"
    "with Workers(2) as workers:\n"
    "    list(workers.run(time.sleep, [(60,), (60,)]))\n"
)


@pytest.mark.long
@pytest.mark.parametrize("delay", [0, 0.1, 1])
@pytest.mark.parametrize("to_all", [False, True])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_at_any_moment_ends_all(signum, to_all, delay):
    process = _started(PROGRAM)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        family = psutil.Process(process.pid).children(recursive=True)
        (os.killpg if to_all else os.kill)(process.pid, signum)
        process.communicate(timeout=30)
        assert process.returncode == -signum
        assert not psutil.wait_procs(family, timeout=15)[1]
        assert not _session(process.pid)
    finally:
        process.kill()


@pytest.mark.parametrize("count", [1, 2, 3])  # the tracker of resources, then two workers
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_while_a_process_is_started_is_not_lost(signum, moment, count):
    send = "    seen.append(1)\n    len(seen) == COUNT and os.kill(os.getpid(), SIGNUM)\n"
    start = "    process = usual(*arguments)\n"
    steps = send + start if moment == "before" else start + send
    hook = (
        "import os\nfrom multiprocessing import util\nusual, seen = util.spawnv_passfds, []\n"
        f"def spawn(*arguments):\n{steps}    return process\nutil.spawnv_passfds = spawn\n"
    )
    hook = hook.replace("COUNT", str(count)).replace("SIGNUM", str(int(signum)))
    process = _started(hook + PROGRAM)
    try:
        process.communicate(timeout=30)
        assert process.returncode == -signum
        assert not _session(process.pid)
    finally:
        process.kill()


def _started(program):
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _session(leader, patience=15):
    """Processes of a session that live after a while, so that one just started is seen as well."""
    deadline = time.monotonic() + patience
    while (left := [p for p in psutil.pids() if _leader(p) == leader]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    return left


def _leader(process):
    try:
        zombie = psutil.Process(process).status() == psutil.STATUS_ZOMBIE
        return None if zombie else os.getsid(process)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


def test_bad_jobs_are_not_swallowed():
    with pytest.raises(RelViTError, match="no such"), Workers(1) as workers:
        list(workers.run(_refuse, [()]))


def _refuse():
    raise RelViTError("no such")
