"""Kept memory: forward passes cost hardly a page fault; a user's own choice is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from hf_relvit.allocator import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "kept" else None)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
layers = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(6)])
images = torch.ones(24_000, 512)  # 49 MB: above 32 MB glibc gives every block back
def forward():
    with torch.inference_mode():
        layers(images)
for _ in range(4):
    forward()
before = faults()
for _ in range(4):
    forward()
print(faults() - before)
"""


def run(side: str, **variables: str) -> list[str]:
    usual = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, side],
        env={**usual, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone")
def test_the_next_forward_passes_cost_hardly_a_page_fault():
    _, usual = run("usual")
    told, kept = run("kept")
    assert told == "True"
    assert 20 * int(kept) < int(usual)


@pytest.mark.long
def test_variables_of_the_user_decide():
    told, _ = run("kept", MALLOC_ARENA_MAX="2")
    assert told == "False"
