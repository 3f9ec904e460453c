"""How many scenes does a closed-form alignment need? Fits on 256 to 8,192 scenes, scored on validation pairs.

    python benchmarks/clip_scenes.py CHECKPOINT OUT.csv --base build/clip-vit-b16 --layer 2

The scenes are captured once; each fit takes the first so many of them, chooses its directions by cross-validation and
has the same fixed scale as all others. Test pairs take no part. A line is written after each fit, and a second call
goes on after the last one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd

from hf_relvit.analysis.activations import ObjectStates, capture_object_states
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.interchange import Control
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import PROPERTIES

SCENES = (256, 512, 1024, 2048, 4096, 8192)
SCALE = 1.3
"""Of all fits: the choice of the default search in layer 2, so that only the number of scenes differs."""
CONTROLS: tuple[Control | None, ...] = (None, "wrong_object")


def first(objects: ObjectStates, count: int) -> ObjectStates:
    states = {layer: rows[:count] for layer, rows in objects.states.items()}
    return ObjectStates(objects.scenes[:count], states, objects.compat)


def fit(
    checkpoint: Checkpoint, objects: ObjectStates, prop: str, layer: int
) -> tuple[Alignment, float]:
    """The alignment, and the seconds that it took."""
    start = time.perf_counter()
    config = DASConfig(method="closed_form", scale=SCALE, bf16=True)
    pairs = checkpoint.distribution().pairs(
        prop, "train", 8
    )  # say which property; the scale is given
    alignment = fit_alignment(checkpoint, pairs, layer, config, objects=objects)
    return alignment, time.perf_counter() - start


def row(
    checkpoint: Checkpoint, alignment: Alignment, pairs, control: Control | None, **known
) -> dict[str, object]:
    table = score_alignment(checkpoint, alignment, pairs, control, bf16=True)
    whole = table[table.condition == "all"].iloc[0]
    numbers = {name: round(float(whole[name]), 4) for name in ("accuracy", "ci_low", "ci_high")}
    return {
        **known,
        "control": control or "none",
        "directions": alignment.size,
        "n": int(whole.n),
        **numbers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path, help="folder of an adapter's backbone")
    parser.add_argument("--layer", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=128, help="validation pairs")
    parser.add_argument("--most", type=int, default=SCENES[-1], help="scenes of the largest fit")
    options = parser.parse_args()
    checkpoint = Checkpoint.open(options.checkpoint, base=options.base)
    distribution = checkpoint.distribution()
    layer = options.layer
    scenes = distribution.sample("train", options.most)
    objects = capture_object_states(checkpoint, scenes, [layer], bf16=True, progress=True)
    rows = pd.read_csv(options.out).to_dict("records") if options.out.exists() else []
    done = {(each["property"], each["scenes"]) for each in rows}
    for count in [count for count in SCENES if count <= options.most]:
        for prop in PROPERTIES:
            if (prop, count) in done:
                continue
            pairs = distribution.pairs(prop, "validation", options.pairs)
            alignment, seconds = fit(checkpoint, first(objects, count), prop, layer)
            known = {
                "property": prop,
                "layer": layer,
                "scenes": count,
                "fit_seconds": round(seconds, 1),
            }
            rows += [row(checkpoint, alignment, pairs, control, **known) for control in CONTROLS]
            print(rows[-2], flush=True)
            pd.DataFrame(rows).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
