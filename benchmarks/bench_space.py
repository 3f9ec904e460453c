"""The Space: how long a reaction takes, for one user and for twenty at once; of a large model also its curve.

python benchmarks/bench_space.py                       # the small models that ship
python benchmarks/bench_space.py FOLDER                # a served folder of assets.build_assets, such as CLIP's

RELVIT_BASE names the backbone of adapters. OMP_NUM_THREADS=2 is the free hardware of a Space.
"""

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
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np

try:
    from gradio_client import Client
except ImportError:
    print("skipped: the Space needs gradio, pip install -e '.[demo]'")
    sys.exit(0)

REACTIONS, USERS, EACH = 100, 20, 5
ACTIONS = ("swap", "steer", "inject")


def query(i: int, layers: int = 6) -> str:
    """A state that nobody asked for before: both of its scenes are new."""
    action = ACTIONS[i % 3]
    color = i % 20
    row = i // 20 % 3
    scenes = f"scene=13.{color}.{row}.0_13.4.5.5&source=12.{color}.3.5_8.0.5.2"
    return f"{scenes}&do={action}&at={i % layers}&draw={i}"


def knobs(i: int, layers: int = 6) -> tuple:
    """What the browser sends when a slider moves: attention overlay, action, property, layer and the rest."""
    layer = i % layers
    return query(i, layers), layer, -1, ACTIONS[i % 3], "color", layer, 0, 0, 2.0, 0, "added"


def timed(function, count: int) -> np.ndarray:
    """Milliseconds of each call; one before all is not counted."""
    function(count + 1)
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


def opened(folder: Path):
    """A served model and the states of ``query``."""
    from hf_relvit.spaces.interventions.moves import first_state
    from hf_relvit.spaces.interventions.served import open_served
    from hf_relvit.spaces.interventions.state import from_query

    served = open_served(folder, base=os.environ.get("RELVIT_BASE") or None)
    start = {served.name: first_state(served.limits)}
    limits = {served.name: served.limits}
    return served, lambda i: from_query(query(i, served.limits.layers), start, limits)


def inside(folder: Path, count: int) -> np.ndarray:
    """The same without a server: model, controls and pictures."""
    from hf_relvit.spaces.interventions.page import panels

    served, state = opened(folder)
    return timed(lambda i: panels(served, state(i)), count)


def large(folder: Path, count: int) -> list[dict]:
    """The whole curve of a large model, and whether bfloat16 says what float32 says."""
    from hf_relvit.spaces.interventions.engine import react
    from hf_relvit.spaces.interventions.page import growing_curve

    served, state = opened(folder)
    grown = timed(lambda i: list(growing_curve(served, state(500 + i))), count)
    rows = [row("the curve over all layers, after the reaction", grown)]
    if not served.bf16:
        return rows
    exact = replace(served)
    vars(exact)["bf16"] = False
    farthest = []
    verdicts = []
    for i in range(count):
        chosen = state(i)
        said = [react(each, chosen, [chosen.layer]) for each in (served, exact)]
        answers = [
            [first.same, *(c[chosen.layer] for c in curve.same.values())] for first, curve in said
        ]
        one, other = np.array(answers)
        farthest.append(np.abs(one - other).max())
        verdicts += ((one > 0.5) == (other > 0.5)).tolist()
    facts = {
        "equal_verdicts": int(sum(verdicts)),
        "verdicts": len(verdicts),
        "largest_difference": float(max(farthest)),
    }
    return [*rows, {"what": "bfloat16 beside float32, probability of same", **facts}]


def main() -> None:
    from hf_relvit.spaces.interventions.app import RELEASED

    named = len(sys.argv) > 1
    folder = Path(sys.argv[1] if named else RELEASED / "scratch-discrimination")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = (
        "import sys; from pathlib import Path; from hf_relvit.spaces.interventions.app import start; "
        "start([Path(sys.argv[1])], port=int(sys.argv[2]))"
    )
    command = [sys.executable, "-c", started, str(folder), str(port)]
    environment = {"HF_HUB_OFFLINE": "1", **os.environ}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    url = f"http://127.0.0.1:{port}"
    count = 40 if named else REACTIONS
    layers = 12 if named else 6
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.5)
        client = Client(url, verbose=False)
        moved = timed(lambda i: client.predict(*knobs(i, layers), api_name="/turned"), count)
        rows = [row("a slider on a new scene, with all pictures of the page, 1 user", moved)]
        if not named:
            alone = timed(lambda i: client.predict(query(i + 200), api_name="/react"), count)
            rows += [row("a reaction through the API, 1 user", alone), many(url)]
    finally:
        process.terminate()
        process.wait()
    bare = inside(folder, count)
    share = statistics.median(bare) / statistics.median(moved)
    rows.append(row("of that model, controls and pictures, no server", bare, share=float(share)))
    rows += large(folder, 12) if named else []
    machine.write("space_clip" if named else "space", rows)


if __name__ == "__main__":
    main()
