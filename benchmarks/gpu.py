"""What the GPU benchmarks share: the device, two sizes, a clock that waits for the device, and the targets."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import machine
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTConfig

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.training.config import vit

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NO_GPU = "NO GPU FIGURES: the same code at a reduced size, which says that it runs and nothing about its speed there"


@dataclass(frozen=True)
class Size:
    """How much is done; the full size is the paper's."""

    geometry: str = "b16"
    layers: int = 12
    hidden: int = 768
    heads: int = 12
    batch: int = 128
    steps: int = 220
    warm: int = 20
    n_train: int = 6_400
    matmul: int = 8_192
    pairs: int = 2_000
    test_pairs: int = 500
    epochs: int = 20
    scenes: int = 500

    @property
    def backbone(self) -> dict:
        return vit(self.layers, self.hidden, self.heads)

    def model(self) -> tuple[RelViTForImageClassification, PixelProcessor]:
        """Untrained, on the device, in evaluation mode."""
        scenes = GEOMETRIES[self.geometry]
        sides = dict(image_size=scenes.image_size, patch_size=scenes.patch_size)
        torch.manual_seed(0)
        config = RelViTConfig(backbone_config=ViTConfig(**{**self.backbone, **sides}))
        processor = PixelProcessor(default_processor(scenes.image_size), scenes.image_size)
        return RelViTForImageClassification(config).eval().to(DEVICE), processor


REDUCED = Size("quick", 2, 64, 2, 16, 8, 2, 64, 512, 32, 32, 2, 32)


def size_from_arguments(what: str) -> Size:
    """Full on a GPU; reduced without one, or with ``--reduced``."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument(
        "--reduced", action="store_true", help="a few seconds' worth; the default without a GPU"
    )
    reduced = parser.parse_args().reduced or DEVICE.type == "cpu"
    if reduced:
        print(NO_GPU)
    if DEVICE.type == "cpu":
        torch.set_num_threads(1)  # so that other work on the machine disturbs less
        torch.compile = partial(
            torch.compile, backend="aot_eager"
        )  # the same graphs, without minutes of C++
    else:
        torch.set_float32_matmul_precision("high")
    return REDUCED if reduced else Size()


def now() -> float:
    """Seconds, when all that was asked of the device is done."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The median of some runs after one to warm up."""
    taken = []
    for _ in range(repeats + 1):
        start = now()
        work()
        taken.append(now() - start)
    return statistics.median(taken[1:])


def matmul_peak(n: int) -> float:
    """Operations a second of a large bf16 product of random matrices: what the device can do at best."""
    a, b = (torch.randn(n, n, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return 10 * 2 * n**3 / seconds(lambda: [a @ b for _ in range(10)])


def forward_operations(size: Size) -> float:
    """Of one image, counted: 35 x 10^9 for ViT-B/16."""
    model, _ = size.model()
    side = GEOMETRIES[size.geometry].image_size
    model = model.to("meta")
    with FlopCounterMode(display=False) as counter:
        model(pixel_values=torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops()


def keep(
    name: str, size: Size, rows: list[dict], targets: list[tuple[str, float, float, bool]]
) -> None:
    """Write the figures, with how they compare with the targets: what, figure, target, whether more is better."""
    if size is REDUCED:
        machine.write(f"{name}_reduced", [{"what": NO_GPU}, *rows])
        print(NO_GPU)
        return
    for what, figure, target, more in targets:
        met = figure >= target if more else figure <= target
        rows.append({"what": f"target: {what}", "figure": figure, "target": target, "met": met})
    machine.write(name, rows)
    for row in rows[len(rows) - len(targets) :]:
        print(
            f"{row['what']}: {'met' if row['met'] else 'NOT MET'} ({row['figure']:.4g}, target {row['target']:g})"
        )
