"""Seconds, steps and images until swaps reach an accuracy: pyvene, our search cold and warm, and no search at all.

    python benchmarks/bench_time_to_accuracy.py
    python benchmarks/bench_time_to_accuracy.py --checkpoint released/clip-discrimination/training/model \\
        --layer 2 --pairs 256 --validation-pairs 64 --test-pairs 128 --batch 32 --bf16 --name time_to_accuracy_clip

A run is one method, property and rate; its alignment is scored after every epoch, and the clock stops meanwhile. The
last one of a run is also scored by answer, with the wrong object, and on pairs whose answer must stay (isolate).
Validation pairs choose the rate of each method (the best mean over its epochs), test pairs are reported. Each run is a
file in a folder under build/: a second call goes on after the last one. Captures are shared and timed apart. By
default all sides run on the model of the tests whose color and shape are known to lie in four dimensions each.

pyvene is that of ``bench_das``, tuned (one group, a cached rotation), in float32, in a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import machine
import numpy as np
import pandas as pd
import torch
from bench_das import Pyvene, in_environment
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize
from transformers import get_linear_schedule_with_warmup

from hf_relvit.analysis.activations import ObjectStates, Site, capture_object_states
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.interchange import PairResiduals, capture_pair_residuals
from hf_relvit.analysis.scores import swaps_of
from hf_relvit.files import write_table
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.blocks import blocks
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import (
    PROPERTIES,
    CounterfactualTable,
    sample_isolation_pairs,
)
from hf_relvit.stimuli.distribution import SceneDistribution

ROOT = Path(__file__).parents[1]
KNOWN = ROOT / "tests" / "analysis" / "conftest.py"
GOALS = (0.80, 0.85, 0.90)
AUTHORS = {"shape": 0.936, "color": 0.918}
"""Layer 2 of CLIP, the paper's result files."""
CLOSED = "closed form"
PYVENE = "pyvene, from random directions"
SEARCHES = {
    "das, from the closed form": DASConfig("das", start="closed_form"),
    "oblique, from the closed form": DASConfig("oblique", start="closed_form"),
    "das, from random directions": DASConfig("das"),
}
METHODS = (CLOSED, *SEARCHES, PYVENE)


@dataclass(frozen=True)
class Data:
    """Captures of one property, and the seconds that those of the two kinds of fit took."""

    train: PairResiduals
    validation: PairResiduals
    test: PairResiduals
    isolate: PairResiduals
    objects: ObjectStates
    seconds_of_pairs: float
    seconds_of_scenes: float


class Clock:
    """Wall and processor seconds, without the time that is spent paused."""

    def __init__(self):
        self.paused = np.zeros(2)  # of both kinds
        self.start = self._now()

    def read(self) -> dict[str, float]:
        seconds, cpu = self._now() - self.start - self.paused
        return {"seconds": seconds, "cpu_seconds": cpu}

    def pause(self, work: Callable[[], None]) -> None:
        start = self._now()
        work()
        self.paused += self._now() - start

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])


class Bench:
    """One checkpoint and layer, with all runs on it."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.site = Site("resid_post", options.layer)
        self.folder = ROOT / "build" / options.name
        self.data = {}
        if options.checkpoint is None:
            self.checkpoint, self.scenes = known_model()
        else:
            self.checkpoint = Checkpoint.open(options.checkpoint)
            self.scenes = self.checkpoint.distribution()

    def run(self, prop: str, method: str, rate: float) -> None:
        """Write the file of one run unless it is there."""
        file = self.folder / f"{prop}-{METHODS.index(method)}-{rate:g}.parquet"
        if file.exists():
            return
        rows = [
            {"property": prop, "method": method, "rate": rate, **row}
            for row in self.epochs(prop, method, rate)
        ]
        frame = pd.DataFrame(rows).assign(load=os.getloadavg()[0])
        self.folder.mkdir(parents=True, exist_ok=True)
        write_table(file, frame)

    def epochs(self, prop: str, method: str, rate: float) -> list[dict]:
        """A row per epoch of a run."""
        data = self.captured(prop)
        clock = Clock()
        rows = []
        moments = []

        def watch(alignment: Alignment) -> None:
            moments.append(alignment)
            clock.pause(lambda: rows.append(self.row(data, method, alignment, len(rows), clock)))

        if method == PYVENE:
            for alignment in self.pyvene(data, rate):
                watch(alignment)
        elif method == CLOSED:
            held_out = replace_train(data, self.options.held_out)
            watch(self.fit(held_out, DASConfig("closed_form")))
        else:
            self.fit(data, self.search(method, rate), watch)
        rows[-1].update(self.columns(moments[-1], data))
        return rows

    def columns(self, alignment: Alignment, data: Data) -> dict[str, float]:
        """Everything that a swap is judged by, on test pairs."""
        different, same = self.by_answer(alignment, data.test)
        return {
            "different": different,
            "same": same,
            "wrong_object": self.accuracy(alignment, data.test, "wrong_object"),
            "isolate": self.accuracy(alignment, data.isolate),
        }

    def search(self, method: str, rate: float) -> DASConfig:
        """Settings of one of our searches."""
        options = self.options
        return replace(
            SEARCHES[method],
            epochs=options.warm if "closed" in method else options.cold,
            batch_size=options.batch,
            lr_rotation=rate,
            lr_mask=10 * rate,
        )

    def fit(self, data: Data, config: DASConfig, watch=None) -> Alignment:
        config = replace(config, bf16=self.options.bf16)
        layer = self.options.layer
        return fit_alignment(
            self.checkpoint, data.train, layer, config, objects=data.objects, watch=watch
        )

    def pyvene(self, data: Data, rate: float) -> Iterator[Alignment]:
        """The same search as ``das`` from random directions, an alignment per epoch."""
        torch.manual_seed(0)
        model = self.checkpoint.model.requires_grad_(False)
        found = [name for name, module in model.named_modules() if module is blocks(model)]
        if not hasattr(model, "device"):
            model.device = torch.device("cpu")  # pyvene asks
        peer = Pyvene(model, f"{found[0]}[%s]", self.options.layer, tuned=True)
        for group, factor in zip(peer.groups, (1, 10), strict=True):
            group["lr"] = factor * rate
        pairs = data.train.pairs
        batches = -(-len(pairs) // self.options.batch)
        total = batches * self.options.cold
        adam = torch.optim.Adam(peer.groups)
        schedule = get_linear_schedule_with_warmup(adam, total // 10, total)
        generator = torch.Generator().manual_seed(0)
        for epoch in range(self.options.pyvene):
            temperature = 200 ** -(epoch / max(self.options.cold - 1, 1))
            for rows in torch.randperm(len(pairs), generator=generator).split(self.options.batch):
                order = torch.randperm(4, generator=generator)
                *images, tokens, given, label = self.operands(pairs[rows.numpy()])
                with parametrize.cached():
                    logits = peer.logits(*images, tokens, given[:, order], temperature)
                    loss = cross_entropy(logits, label) + 1e-3 * peer.mask().sum()
                    adam.zero_grad()
                    loss.backward()
                    adam.step()
                schedule.step()
            yield self.aligned(peer, pairs.property)

    def operands(self, pairs) -> tuple[torch.Tensor, ...]:
        """Images, tokens and labels of pairs, as pyvene takes them."""
        rows = range(len(pairs))
        geometry = self.checkpoint.geometry
        images = [self.checkpoint.pixel_values(scenes) for scenes in (pairs.base, pairs.source)]
        tokens = geometry.tokens(pairs.base.patches()[rows, pairs.edited])
        given = geometry.tokens(pairs.source.patches()[rows, pairs.source_object])
        label = torch.from_numpy(pairs.label).long()
        return *images, torch.from_numpy(tokens), torch.from_numpy(given), label

    @torch.no_grad()
    def aligned(self, peer: Pyvene, prop: str) -> Alignment:
        """What pyvene holds at this moment, to be scored as ours are."""
        rotation = peer.intervention.rotate_layer.weight.T.contiguous().clone()
        return Alignment(rotation, peer.intervention.masks > 0, self.site, prop)

    def row(self, data: Data, method: str, alignment: Alignment, epoch: int, clock: Clock) -> dict:
        """Scores of a moment of a run."""
        searched = method != CLOSED
        labeled = "closed" in method
        pairs = len(data.train.pairs) if searched else self.options.held_out
        batches = -(-pairs // self.options.batch)
        seconds = labeled * data.seconds_of_scenes
        if method in SEARCHES:
            seconds += data.seconds_of_pairs
        row = {
            "steps": searched * (epoch + 1) * batches,
            "images": 2 * pairs + labeled * len(data.objects.scenes),
            **clock.read(),
            "seconds_of_capture": seconds,
            "size": alignment.size,
            "validation": self.accuracy(alignment, data.validation),
            "test": self.accuracy(alignment, data.test),
        }
        clocked = time.strftime("%H:%M:%S")
        print(f"{clocked} {data.train.pairs.property}, {method}: {row}", flush=True)
        return row

    def accuracy(self, alignment: Alignment, pairs: PairResiduals, control=None) -> float:
        return float(self.follows(alignment, pairs, control).mean())

    def by_answer(self, alignment: Alignment, pairs: PairResiduals) -> tuple[float, float]:
        """The share that follows of swaps that must make the answer "different", and "same"."""
        follows = self.follows(alignment, pairs)
        same = pairs.pairs.label == 1
        return float(follows[~same].mean()), float(follows[same].mean())

    def follows(self, alignment: Alignment, pairs: PairResiduals, control=None) -> np.ndarray:
        bf16 = self.options.bf16
        swaps = swaps_of(self.checkpoint, alignment, pairs, control, bf16=bf16)
        answers = torch.cat([swap.logits.argmax(-1) for swap in swaps])
        return answers.numpy() == pairs.pairs.label

    def captured(self, prop: str) -> Data:
        if prop not in self.data:
            start = time.perf_counter()
            train = self.pairs(prop, "train", self.options.pairs)
            seconds = time.perf_counter() - start
            objects, seconds_of_scenes = self.objects
            validation = self.pairs(prop, "validation", self.options.validation_pairs)
            test = self.pairs(prop, "test", self.options.test_pairs)
            isolate = self.isolation_pairs(prop)
            kept = (train, validation, test, isolate, objects)
            self.data[prop] = Data(*kept, seconds, seconds_of_scenes)
        return self.data[prop]

    def pairs(self, prop: str, split: str, count: int) -> PairResiduals:
        return self.read(self.scenes.pairs(prop, split, count))

    def isolation_pairs(self, prop: str) -> PairResiduals:
        """Test pairs of the other property, whose answer a swap of this one must not change."""
        (other,) = set(PROPERTIES) - {prop}
        pairs = self.scenes.pairs(other, "test", self.options.test_pairs)
        return self.read(sample_isolation_pairs(pairs))

    def read(self, table: CounterfactualTable) -> PairResiduals:
        return capture_pair_residuals(self.checkpoint, table, [self.site], bf16=self.options.bf16)

    @cached_property
    def objects(self) -> tuple[ObjectStates, float]:
        """Of labeled scenes, for both properties, and the seconds of their capture."""
        scenes = self.scenes.sample("train", self.options.scenes)
        start = time.perf_counter()
        layers = [self.options.layer]
        states = capture_object_states(self.checkpoint, scenes, layers, bf16=self.options.bf16)
        return states, time.perf_counter() - start


def replace_train(data: Data, count: int) -> Data:
    """The same with so many pairs: a closed form takes them for its scale alone."""
    return replace(data, train=data.train.select(slice(0, count)))


def known_model() -> tuple[Checkpoint, SceneDistribution]:
    """The model of the tests, and its scenes."""
    spec = importlib.util.spec_from_file_location("sign_model", KNOWN)
    known = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(known)
    checkpoint = Checkpoint(*known.make_sign_model("color", "shape"))
    scenes = SceneDistribution("discrimination", GEOMETRIES["quick"], 256, known.SIGN_OBJECTS)
    return checkpoint, scenes


def chosen(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each property and method the rows of the rate with the best mean accuracy on validation pairs."""
    best = []
    for _, own in runs.groupby(["property", "method"], sort=False):
        means = own.groupby("rate").validation.mean()
        best.append(own[own.rate == means.idxmax()])
    return pd.concat(best, ignore_index=True)


def times(runs: pd.DataFrame) -> list[dict]:
    """For each property and method the first moment that reaches a goal on test pairs; none where no one does."""
    table = []
    for (prop, method), own in runs.groupby(["property", "method"], sort=False):
        for goal in (*GOALS, AUTHORS[prop]):
            reached = own[own.test >= goal]
            first = reached.iloc[0] if len(reached) else pd.Series(dtype=float)
            names = ("seconds", "cpu_seconds", "seconds_of_capture", "steps", "images")
            figures = {name: float(first.get(name, np.nan)) for name in names}
            table.append({"what": f"{prop}: {method}, until {goal}", **figures})
    return table


def collect(folder: Path, name: str) -> None:
    """Write the table of the runs that are there."""
    order = {method: place for place, method in enumerate(METHODS)}
    runs = pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("*.parquet"))])
    runs = runs.sort_values("method", key=lambda names: names.map(order), kind="stable")
    best = chosen(runs.sort_values("property", ascending=False, kind="stable"))
    rows = []
    for row in best.to_dict("records"):
        what = f"{row.pop('property')}: {row.pop('method')}"
        rows.append({"what": what, **row})
    machine.write(name, [*rows, *times(best)])
    draw(best, ROOT / "docs" / "images" / f"{name}.png")


def draw(runs: pd.DataFrame, file: Path) -> None:
    """Accuracy on test pairs by processor seconds, captures apart; the goals as lines."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, prop in zip(axes, PROPERTIES, strict=True):
        for method, own in runs[runs.property == prop].groupby("method", sort=False):
            color = f"C{METHODS.index(str(method))}"  # the same in both panels, whatever was run
            axis.plot(own.cpu_seconds, own.test, "o-", ms=3, color=color, label=method)
        for goal in (*GOALS, AUTHORS[prop]):
            axis.axhline(goal, color="black", lw=0.5, ls=":")
        axis.set(title=prop, xscale="log", xlabel="processor seconds", ylim=(-0.03, 1.03))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("share of pairs with the new answer")
    axes[0].legend(fontsize=7, loc="lower right")
    figure.savefig(file, dpi=110)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--held-out", type=int, default=64, help="pairs that choose a scale")
    parser.add_argument("--validation-pairs", type=int, default=256)
    parser.add_argument("--test-pairs", type=int, default=512)
    parser.add_argument("--scenes", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--bf16", action="store_true", help="of our sides")
    parser.add_argument("--warm", type=int, default=6, help="epochs of searches that start warm")
    parser.add_argument("--cold", type=int, default=32, help="epochs of the others")
    parser.add_argument("--pyvene", type=int, default=32, help="of them, those that pyvene runs")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 1e-2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--name", default="time_to_accuracy", help="of the file of results")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if PYVENE in options.methods and importlib.util.find_spec("pyvene") is None:
        in_environment()
    bench = Bench(options)
    for method in options.methods:
        for prop in PROPERTIES:
            for rate in [0.0] if method == CLOSED else options.rates:
                bench.run(prop, method, rate)
    collect(bench.folder, options.name)


if __name__ == "__main__":
    main()
