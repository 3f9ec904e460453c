"""The Space: how long a reaction takes through its API, for one user and for twenty at once."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import machine
import numpy as np

try:
    from gradio_client import Client
except ImportError:
    print("skipped: the Space needs gradio, pip install -e '.[demo]'")
    sys.exit(0)

REACTIONS, USERS, EACH = 100, 20, 5
ACTIONS = ("swap", "steer", "inject")


def query(i: int) -> str:
    """A state that nobody asked for before."""
    action, color, row = ACTIONS[i % 3], i % 20, i // 20 % 3
    return (
        f"scene=13.{color}.{row}.0_13.4.5.5&source=12.4.3.5_8.0.5.2&do={action}&at={i % 6}&draw={i}"
    )


def knobs(i: int) -> tuple:
    """What the browser sends when a slider moves: attention overlay, action, property, layer and the rest."""
    return query(i), i % 6, -1, ACTIONS[i % 3], "color", i % 6, 0, 0, 2.0, 0, "added"


def timed(function, count: int) -> np.ndarray:
    """Milliseconds of each call; the first of all is not counted."""
    function(count)
    seconds = []
    for i in range(count):
        start = time.perf_counter()
        function(i)
        seconds.append(time.perf_counter() - start)
    return 1000 * np.array(seconds)


def row(what: str, milliseconds: np.ndarray, **facts) -> dict:
    median, p95 = np.quantile(milliseconds, [0.5, 0.95])
    return {
        "what": what,
        "median_ms": float(median),
        "p95_ms": float(p95),
        "n": len(milliseconds),
        **facts,
    }


def many(url: str) -> dict:
    """Twenty people who each move a slider five times, all at once."""
    clients = [Client(url, verbose=False) for _ in range(USERS)]

    def use(user: int) -> list[tuple[float, bool]]:
        found = []
        for step in range(EACH):
            start = time.perf_counter()
            answer = clients[user].predict(query(user + USERS * step), api_name="/react")
            found.append(
                (
                    1000 * (time.perf_counter() - start),
                    answer["decision"].startswith("The model says"),
                )
            )
        return found

    start = time.perf_counter()
    with ThreadPoolExecutor(USERS) as pool:
        results = [item for user in pool.map(use, range(USERS)) for item in user]
    seconds = time.perf_counter() - start
    lost = USERS * EACH - sum(fine for _, fine in results)
    facts = dict(lost=lost, reactions_per_second=len(results) / seconds)
    return row(f"{USERS} users at once", np.array([ms for ms, _ in results]), **facts)


def inside() -> np.ndarray:
    """The same without a server: model, controls and pictures."""
    from hf_relvit.spaces.interventions.app import models
    from hf_relvit.spaces.interventions.moves import first_state
    from hf_relvit.spaces.interventions.page import panels
    from hf_relvit.spaces.interventions.served import open_served
    from hf_relvit.spaces.interventions.state import from_query

    served = open_served(models()[0])
    start, limits = {served.name: first_state(served.limits)}, {served.name: served.limits}
    return timed(lambda i: panels(served, from_query(query(i), start, limits)), REACTIONS)


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        f"from hf_relvit.cli import main; main(['demo', '--port', '{port}'])",
    ]
    environment = {"HF_HUB_OFFLINE": "1", **os.environ}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.5)
        client = Client(url, verbose=False)
        alone = timed(lambda i: client.predict(query(i), api_name="/react"), REACTIONS)
        moved = timed(lambda i: client.predict(knobs(i), api_name="/turned"), REACTIONS)
        together = many(url)
    finally:
        process.terminate()
        process.wait()
    bare = inside()
    share = statistics.median(bare) / statistics.median(moved)
    rows = [
        row("a reaction through the API, 1 user", alone),
        row("a slider, with all pictures of the page, 1 user", moved),
        row("of that model, controls and pictures, no server", bare, share=float(share)),
        together,
    ]
    machine.write("space", rows)


if __name__ == "__main__":
    main()
