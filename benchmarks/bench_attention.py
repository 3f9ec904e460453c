"""Attention stages on ViT-B/16 against a plain sdpa forward, and against full eager maps.

The sides take turns in one process, so a busy machine slows all alike. Memory is the peak of a process of its own for
each side. The weights are spread wide, so that attention is sharp and an error would show.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
import torch
from transformers import ViTConfig

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification, record_object_attention
from hf_relvit.stimuli.scenes import sample

BATCH, ROUNDS = 8, 2
SIDES = ("plain sdpa", "attention stages", "full eager maps")


class Sides:
    def __init__(self, batch: int = BATCH):
        torch.set_num_threads(1)  # so that other work on the machine disturbs less
        torch.manual_seed(0)
        backbone = ViTConfig(initializer_range=0.05)
        self.model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone)).eval()
        self.geometry = self.model.config.geometry
        patches = sample("discrimination", GEOMETRIES["b16"], "test", batch).patches()
        self.tokens = torch.from_numpy(self.geometry.tokens(patches))
        self.pixels = torch.randn(batch, 3, 224, 224)

    @torch.inference_mode()
    def run(self, side: str):
        """Seconds, logits, and what the side keeps of attention."""
        self.model.set_attn_implementation(dict(zip(SIDES, ("sdpa", "relvit", "eager")))[side])
        start = time.perf_counter()
        if side == "attention stages":
            with record_object_attention(self.tokens, self.geometry.prefix_tokens) as record:
                out = self.model(pixel_values=self.pixels)
            return time.perf_counter() - start, out.logits, record.mass
        out = self.model(pixel_values=self.pixels, output_attentions=side == "full eager maps")
        return time.perf_counter() - start, out.logits, out.attentions

    def worst(self, mass, maps) -> float:
        """Largest difference between the recorded mass on each object and that of the full maps."""
        heads, tokens = maps[0].shape[1], self.tokens
        index = tokens.flatten(1)[:, None, :, None].expand(
            -1, heads, -1, self.geometry.sequence_length
        )
        worst = 0.0
        for layer, attention in enumerate(maps):
            rows = attention.gather(2, index).unflatten(2, tokens.shape[1:])
            for j in range(tokens.shape[1]):
                target = tokens[:, None, None, None, j].expand(*rows.shape[:4], -1)
                exact = rows.gather(4, target).sum(4).mean(3)
                worst = max(worst, (exact - mass[layer][..., j]).abs().max().item())
        return worst


def status_mib(name: str) -> float:
    """A memory figure of this process (Linux)."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    )
    return int(line.split()[1]) / 1024


def peak_mib(side: str) -> float:
    out = subprocess.run(
        [sys.executable, __file__, side], check=True, capture_output=True, text=True
    ).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    sides = Sides()
    times = {side: [] for side in SIDES}
    for i in range(ROUNDS + 1):
        kept = {}
        for side in SIDES:
            seconds, logits, attention = sides.run(side)
            kept[side] = logits, attention
            if i:  # the first round warms up
                times[side].append(seconds)
    rate = {side: BATCH / statistics.median(values) for side, values in times.items()}
    peak = {side: peak_mib(side) for side in SIDES}
    extra = {side: peak[side] - peak[SIDES[0]] for side in SIDES}
    machine.write(
        "attention",
        [
            {
                "what": side,
                "images_per_second": rate[side],
                "throughput_to_plain": rate[side] / rate[SIDES[0]],
                "extra_peak_mib": extra[side],
            }
            for side in SIDES
        ]
        + [
            {
                "what": "extra memory, stages / full maps",
                "ratio": extra[SIDES[1]] / extra[SIDES[2]],
            },
            {
                "what": "largest difference",
                "to_eager_maps": sides.worst(kept[SIDES[1]][1], kept[SIDES[2]][1]),
                "of_logits_to_sdpa": (kept[SIDES[1]][0] - kept[SIDES[0]][0]).abs().max().item(),
            },
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sides = Sides(3 * BATCH)  # many images, so that what grows with them stands out
        whole = sides.pixels, sides.tokens
        sides.pixels, sides.tokens = sides.pixels[:1], sides.tokens[:1]
        sides.run(sys.argv[1])  # what is set up once is not counted
        sides.pixels, sides.tokens = whole
        before = status_mib("VmRSS")
        Path("/proc/self/clear_refs").write_text(
            "5"
        )  # the peak starts anew, so that building the model is not in it
        results = sides.run(sys.argv[1])
        print(json.dumps(status_mib("VmHWM") - before))
    else:
        main()
