import signal
import subprocess
import sys


def test_a_worker_ends_even_if_it_is_told_to_before_it_runs():
    """As when one worker does all there is to do: the pool then ends the other, however young, and waits for it."""
    code = (
        "import os, signal, time\n"
        "from hf_relvit.building.interrupts import interrupted_once\n"
        "with interrupted_once():\n"
        "    for _ in range(50):\n"
        "        worker = os.fork()\n"
        "        if worker == 0:\n"
        "            time.sleep(60)\n"
        "        os.kill(worker, signal.SIGTERM)\n"
        "        assert os.waitpid(worker, 0)[1] == signal.SIGTERM\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode
        == 128 + signal.SIGTERM
    )
