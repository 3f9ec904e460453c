"""Processor seconds of a forward pass and of a training step with memory kept (``hf_relvit.allocator``) and without.

Each side is a process of its own, both run in turn. Processor time counts the system's, which is where page faults go.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import machine
import torch
from transformers import ViTConfig, ViTForImageClassification

from hf_relvit.allocator import keep_freed_memory

ROUNDS = 3
BATCH = 32


def measure(kept: bool) -> dict[str, float]:
    """Processor seconds of one side, after a pass to warm up."""
    assert keep_freed_memory() if kept else True
    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig())
    pixels = torch.randn(BATCH, 3, 224, 224)

    def forward() -> None:
        with torch.inference_mode():
            model(pixel_values=pixels)

    def step() -> None:
        loss = model(pixel_values=pixels, labels=torch.zeros(BATCH, dtype=torch.long)).loss
        loss.backward()
        model.zero_grad()

    return {"forward": seconds(forward), "training step": seconds(step)}


def seconds(work) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        work()
        before = resource.getrusage(resource.RUSAGE_SELF)
        work()
        after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def side(kept: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "kept" if kept else "usual"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1] == "kept")))
        return
    rounds = [(side(False), side(True)) for _ in range(ROUNDS)]
    rows = []
    for work in ("forward", "training step"):
        usual = min(without[work] for without, _ in rounds)
        kept = min(having[work] for _, having in rounds)
        what = f"ViT-B/16, {BATCH} images, {work}"
        rows.append(
            {
                "what": what,
                "usual_cpu_seconds": usual,
                "kept_cpu_seconds": kept,
                "ratio": usual / kept,
            }
        )
    machine.write("allocator", rows)


if __name__ == "__main__":
    main()
