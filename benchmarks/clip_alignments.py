"""Closed-form alignments of shape and color in every layer of a checkpoint, with scores and controls, resumable.

    python benchmarks/clip_alignments.py CHECKPOINT OUT --pairs 64 --scenes 512

Every scene is captured once, for all layers. Layers come in the order of interest; each writes one Parquet file, and a
second call goes on where the first one ended. The tables of docs/results/clip_alignments are of this command.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from hf_relvit.analysis.align import AlignConfig, PairCaptures, align
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.das import fit_alignment
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.analysis.validity import read_write_angles, validity_table
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
VARIABLES = ("position", "jitter", "noise", "other_object")


class Profile:
    """Parts of the tables in a folder, each computed if it is not there."""

    def __init__(self, checkpoint: Checkpoint, config: AlignConfig, out: Path):
        self.checkpoint = checkpoint
        self.config = config
        self.out = out
        self.distribution = checkpoint.distribution()
        self.captures = PairCaptures(
            checkpoint,
            self.distribution,
            range(checkpoint.depth),
            pairs=config.pairs,
            test_pairs=config.test_pairs,
            scenes=config.scenes,
            cache_gb=12.0,
            kept=10,
            bf16=True,
            progress=False,
        )

    def part(self, name: str, work) -> None:
        file = self.out / "parts" / f"{name}.parquet"
        if file.exists():
            return
        start = time.perf_counter()
        frame = work()
        seconds = time.perf_counter() - start
        file.parent.mkdir(parents=True, exist_ok=True)
        load = os.getloadavg()[0]
        frame.assign(seconds=seconds, load=load).to_parquet(file)
        print(f"{name}: {seconds:.0f} s, load {load:.1f}", flush=True)

    def align(self, prop: str, layer: int, **settings) -> pd.DataFrame:
        """Scores of the trained model; the alignment is saved."""
        config = replace(self.config, property=prop, layers=(layer,), **settings)
        result = align(self.checkpoint, self.distribution, config, captures=self.captures)
        result.alignments[0].save(self.out / f"{prop}-{layer}")
        return result.frame

    def random_weights(self, prop: str, layer: int) -> pd.DataFrame:
        """The same procedure in the network with random weights, with the scale of the trained model's."""
        alignment = Alignment.load(self.out / f"{prop}-{layer}")
        network = self.captures.network("random")
        train = self.captures.get(prop, "train", weights="random")
        test = self.captures.get(prop, "test", weights="random")
        das = replace(self.config.das, scale=alignment.scale)
        objects = self.captures.objects("random")
        fitted = fit_alignment(network, train, layer, das, objects=objects)
        scores = score_alignment(network, fitted, test, bf16=True)
        return scores.assign(weights="random")

    def unmapped(self, prop: str, layer: int) -> pd.DataFrame:
        alignment = Alignment.load(self.out / f"{prop}-{layer}")
        frames = []
        for variable in VARIABLES:
            pairs = self.captures.unmapped(prop, "test", variable)
            scores = score_alignment(self.checkpoint, alignment, pairs, bf16=True)
            frames.append(scores.assign(score="unmapped", control=variable))
        pairs = self.captures.get(prop, "test")
        frames.append(
            score_alignment(self.checkpoint, alignment, pairs, "random_tokens", bf16=True)
        )
        return pd.concat(frames).assign(weights="trained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=64, help="test pairs")
    parser.add_argument("--scenes", type=int, default=512, help="to fit on")
    parser.add_argument("--held-out", type=int, default=32, help="pairs that choose the scale")
    parser.add_argument("--scale", type=float, help="of every swap, instead of a choice")
    options = parser.parse_args()
    config = AlignConfig(
        method="closed_form",
        scale=options.scale,
        pairs=options.held_out,
        test_pairs=options.pairs,
        scenes=options.scenes,
        splits=("test",),
        scored_controls=("wrong_object",),
        networks=("trained",),
        unmapped=None,
        bf16=True,
    )
    profile = Profile(Checkpoint.open(options.checkpoint), config, options.out)
    depth = profile.checkpoint.depth
    middle = [layer for layer in MIDDLE if layer < depth]
    deep = [layer for layer in range(depth) if layer not in middle]
    short = {"isolate": False, "shuffled": False}
    work = [(layer, profile.align, "trained", {}) for layer in middle]
    work += [(layer, profile.align, "trained", short) for layer in deep]
    work += [(layer, profile.unmapped, "unmapped", {}) for layer in middle[:1]]
    work += [(layer, profile.random_weights, "random", {}) for layer in middle]
    work += [(layer, profile.unmapped, "unmapped", {}) for layer in middle[1:]]
    for layer, measure, name, settings in work:
        for prop in PROPERTIES:
            profile.part(
                f"{name}-{prop}-{layer:02}",
                lambda prop=prop, layer=layer, measure=measure, settings=settings: measure(
                    prop, layer, **settings
                ),
            )
        collect(options.out)


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
                "smallest": between[0],
                "mean": between.mean(),
                "largest": between[-1],
            }
        )
    frame = pd.DataFrame(angles).sort_values(["property", "layer"])
    frame.to_csv(out / "angles.csv", index=False, float_format="%.1f")
    draw(table, frame, out / "profile.png")


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
        axes[2].plot(
            *angles[angles.property == prop][["layer", "mean"]].to_numpy().T, "o-", label=prop
        )
    axes[0].set_ylabel("share of pairs with the new answer")
    axes[0].legend(fontsize=7)
    axes[2].set(title="read and written directions", xlabel="layer", xticks=range(12))
    axes[2].set(ylabel="mean principal angle, degrees", ylim=(0, 90))
    axes[2].legend(fontsize=8)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
