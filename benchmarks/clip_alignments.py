"""Closed-form alignments of shape and color in every layer of a checkpoint, with scores and all controls, resumable.

    python benchmarks/clip_alignments.py CHECKPOINT OUT --pairs 256 --scenes 1024

Every scene is captured once, for all layers. A part is one measure of one property in one layer: it prints a line and
writes one Parquet file, and a second call goes on after the last part that was written. Measures come in the order of
interest, and so do layers, so that a call that is cut off leaves whole tables.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from hf_relvit.analysis.align import PairCaptures, Weights
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.interchange import Control, PairResiduals
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.analysis.validity import read_write_angles, validity_table
from hf_relvit.errors import RelViTError
from hf_relvit.files import read_json, write_json, write_table
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import PROPERTIES

AUTHORS = {
    "shape": (.623, .830, .936, .918, .641, .244, .128, .076, .019, .011, .007, .007),
    "color": (.706, .895, .918, .853, .437, .289, .136, .099, .021, .007, .006, .006),
}  # fmt: skip
"""CLIP ViT-B/16, discrimination, 256 combinations: result files of the paper's repository."""
CONTROLS = {
    "wrong_object": "wrong object",
    "shuffled_labels": "shuffled labels",
    "random_weights": "random weights",
}
MIDDLE = (2, 3, 1, 4, 0, 5)
"""Layers of interest; the others follow."""
VARIABLES = ("position", "jitter", "noise", "other_object")
KEPT = 10
"""Captures at once: of both properties and weights, training pairs and test pairs, and pairs of the isolate score."""


@dataclass(frozen=True)
class Settings:
    """What the parts in a folder were measured with."""

    checkpoint: str
    pairs: int
    scenes: int
    held_out: int
    scale: float | None


class Profile:
    """Parts of the tables in a folder, each computed if it is not there."""

    def __init__(self, settings: Settings, out: Path, cache_gb: float):
        self.settings = settings
        self.out = out
        self.checkpoint = Checkpoint.open(settings.checkpoint)
        depth = self.checkpoint.depth
        middle = [layer for layer in MIDDLE if layer < depth]
        deep = [layer for layer in range(depth) if layer not in middle]
        self.layers = middle + deep
        self.captures = PairCaptures(
            self.checkpoint,
            self.checkpoint.distribution(),
            range(depth),
            pairs=settings.held_out,
            test_pairs=settings.pairs,
            scenes=settings.scenes,
            cache_gb=cache_gb,
            kept=KEPT,
            bf16=True,
        )

    def measure(self, chosen: Iterable[str]) -> None:
        """Write all parts of the chosen measures that are not there."""
        for name in chosen:
            for layer in self.layers:
                for prop in PROPERTIES:
                    self.part(name, prop, layer)
            collect(self.out)

    def part(self, name: str, prop: str, layer: int) -> None:
        file = self.out / "parts" / f"{name}-{prop}-{layer:02}.parquet"
        if file.exists():
            return
        start = time.perf_counter()
        scores = MEASURES[name](self, prop, layer)
        seconds = time.perf_counter() - start
        load = os.getloadavg()[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_table(file, scores.assign(seconds=seconds, load=load))
        whole = scores[scores.condition == "all"]
        figures = [
            f"{row.control} {row.accuracy:.3f} ({row.ci_low:.3f} to {row.ci_high:.3f})"
            for row in whole.itertuples()
        ]
        clock = time.strftime("%H:%M:%S")
        line = f"{clock} {name} of {prop}, layer {layer}: {', '.join(figures)}; n = {whole.n.min()}"
        print(f"{line}; {seconds:.0f} s, load {load:.1f}", flush=True)

    def alignment(self, prop: str, layer: int) -> Alignment:
        """Of the trained model; opened where it was saved before."""
        folder = self.out / f"{prop}-{layer}"
        if not (folder / "alignment.json").exists():
            self.fit(prop, layer, self.settings.scale).save(folder)
        return Alignment.load(folder)

    def fit(
        self,
        prop: str,
        layer: int,
        scale: float | None,
        weights: Weights = "trained",
        shuffled: bool = False,
    ) -> Alignment:
        das = DASConfig(method="closed_form", scale=scale, bf16=True)
        network = self.captures.network(weights)
        train = self.captures.get(prop, "train", weights=weights)
        objects = self.captures.objects(weights)
        return fit_alignment(network, train, layer, das, objects=objects, shuffled=shuffled)

    def score(
        self,
        alignment: Alignment,
        pairs: PairResiduals,
        control: Control | None = None,
        weights: Weights = "trained",
    ) -> pd.DataFrame:
        network = self.captures.network(weights)
        scores = score_alignment(network, alignment, pairs, control, bf16=True)
        return scores.assign(weights=weights)

    def cause(self, prop: str, layer: int) -> pd.DataFrame:
        """Answers follow the swap, and not that of the wrong object."""
        alignment = self.alignment(prop, layer)
        pairs = self.captures.get(prop, "test")
        effect = self.score(alignment, pairs)
        return pd.concat([effect, self.score(alignment, pairs, "wrong_object")])

    def isolate(self, prop: str, layer: int) -> pd.DataFrame:
        pairs = self.captures.get(prop, "test", isolate=True)
        return self.score(self.alignment(prop, layer), pairs)

    def shuffled_labels(self, prop: str, layer: int) -> pd.DataFrame:
        """The same procedure with labels dealt anew, with the scale of the alignment."""
        scale = self.alignment(prop, layer).scale
        fitted = self.fit(prop, layer, scale, shuffled=True)
        scores = self.score(fitted, self.captures.get(prop, "test"))
        return scores.assign(control="shuffled_labels")

    def random_weights(self, prop: str, layer: int) -> pd.DataFrame:
        """The same procedure in the network with random weights, with the scale of the alignment."""
        scale = self.alignment(prop, layer).scale
        fitted = self.fit(prop, layer, scale, weights="random")
        pairs = self.captures.get(prop, "test", weights="random")
        return self.score(fitted, pairs, weights="random")

    def random_tokens(self, prop: str, layer: int) -> pd.DataFrame:
        pairs = self.captures.get(prop, "test")
        return self.score(self.alignment(prop, layer), pairs, "random_tokens")

    def unmapped(self, prop: str, layer: int) -> pd.DataFrame:
        """Answers stay where something else than the property changes."""
        alignment = self.alignment(prop, layer)
        frames = []
        for variable in VARIABLES:
            pairs = self.captures.unmapped(prop, "test", variable)
            if pairs is None:  # such as jitter, in scenes without
                continue
            scores = self.score(alignment, pairs)
            frames.append(scores.assign(score="unmapped", control=variable))
        return pd.concat(frames)


MEASURES: dict[str, Callable[[Profile, str, int], pd.DataFrame]] = {
    "cause": Profile.cause,
    "isolate": Profile.isolate,
    "shuffled_labels": Profile.shuffled_labels,
    "random_weights": Profile.random_weights,
    "random_tokens": Profile.random_tokens,
    "unmapped": Profile.unmapped,
}


def check_settings(settings: Settings, out: Path) -> None:
    """Parts of other settings do not belong into the same tables."""
    file = out / "settings.json"
    wanted = asdict(settings)
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, wanted)
    elif (found := read_json(file)) != wanted:
        raise RelViTError(f"{out} holds parts of {found}, not of {wanted}: choose another folder")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=256, help="test pairs")
    parser.add_argument("--scenes", type=int, default=1024, help="to fit on")
    parser.add_argument("--held-out", type=int, default=64, help="pairs that choose the scale")
    parser.add_argument("--scale", type=float, help="of every swap, instead of a choice")
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--cache-gb", type=float, default=6.0, help="memory; the rest is on disk")
    options = parser.parse_args()
    start = time.perf_counter()
    settings = Settings(
        str(options.checkpoint), options.pairs, options.scenes, options.held_out, options.scale
    )
    try:
        check_settings(settings, options.out)
        Profile(settings, options.out, options.cache_gb).measure(options.measures)
    except RelViTError as error:
        parser.exit(2, f"{error}\n")
    seconds = time.perf_counter() - start
    files = list((options.out / "parts").glob("*.parquet"))
    summed = sum(pd.read_parquet(file).seconds.iloc[0] for file in files)
    print(
        f"total: {seconds:.0f} s in this call, {summed:.0f} s in all {len(files)} parts, captures included"
    )


def collect(out: Path) -> None:
    """Write the tables from the parts that are there."""
    frames = [pd.read_parquet(file) for file in sorted((out / "parts").glob("*.parquet"))]
    scores = pd.concat(frames, ignore_index=True)
    scores = scores.sort_values(["property", "layer", "weights", "score", "control"], kind="stable")
    scores.to_csv(out / "scores.csv", index=False, float_format="%.4f")
    table = validity_table(scores).sort_values(["property", "layer"])
    table.to_csv(out / "validity.csv", index=False, float_format="%.4f")
    angles = []
    for file in sorted(out.glob("*/alignment.json")):
        alignment = Alignment.load(file.parent)
        between = read_write_angles(alignment)
        angles.append(
            {
                "property": alignment.property,
                "layer": alignment.site.layer,
                "size": alignment.size,
                "scale": alignment.scale,
                "smallest": between[0],
                "mean": between.mean(),
                "largest": between[-1],
            }
        )
    frame = pd.DataFrame(angles).sort_values(["property", "layer"])
    frame.to_csv(out / "angles.csv", index=False, float_format="%.2f")
    draw(table, frame, out / "profile.png")
    draw_angles(frame, out / "angles.png")


def draw(table: pd.DataFrame, angles: pd.DataFrame, file: Path) -> None:
    """Swaps by layer beside the authors' search, and the angle between what is read and what is written."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, prop in zip(axes, PROPERTIES):
        rows = table[table.property == prop]
        spread = [rows.cause - rows.cause_low, rows.cause_high - rows.cause]
        axis.errorbar(rows.layer, rows.cause, spread, fmt="o-", label="closed form")
        axis.plot(range(12), AUTHORS[prop], "s--", color="black", label="authors' DAS, 640 steps")
        for name, words in CONTROLS.items():
            axis.plot(rows.layer, rows[name], "v:", ms=4, label=words)
        axis.set(title=prop, xlabel="layer", ylim=(-0.03, 1.03), xticks=range(12))
        own = angles[angles.property == prop]
        axes[2].plot(own.layer, own["mean"], "o-", label=prop)
    axes[0].set_ylabel("share of pairs with the new answer")
    axes[0].legend(fontsize=7)
    axes[2].set(title="read and written directions", xlabel="layer", xticks=range(12))
    axes[2].set(ylabel="mean principal angle, degrees", ylim=(0, 90))
    axes[2].legend(fontsize=8)
    figure.savefig(file, dpi=110)


def draw_angles(angles: pd.DataFrame, file: Path) -> None:
    """Principal angles between the rows that are read and those that are written: mean, smallest and largest."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, prop in zip(axes, PROPERTIES):
        rows = angles[angles.property == prop]
        axis.fill_between(rows.layer, rows.smallest, rows.largest, alpha=0.25)
        axis.plot(rows.layer, rows["mean"], "o-")
        axis.axhline(0, color="black", ls="--")
        axis.set(title=prop, xlabel="layer", xticks=range(12), ylim=(-3, 90))
    axes[0].set_ylabel("principal angles, degrees")
    axes[0].text(0.2, 3, "DAS: the same rows are read and written", fontsize=7)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
