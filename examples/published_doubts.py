"""What computation alone can settle about figures of the paper that docs/replication.md doubts; no model is needed.

    python examples/published_doubts.py                     # prints tables, writes docs/results/published_doubts.json

Input: docs/results/published.csv, the authors' figures (logs/ of github.com/alexatartaglini/relational-circuits): one
run each, no intervals. Rows that sit at chance are left out. Columns: accuracies (``train`` to ``ood_both``), the best
layer's DAS accuracy on the IID test (``das_*``), and the accuracy of an intervention in the last layer, which nothing
after it reads, so that it is 1 - accuracy of the model: of DAS (``last_shape``, ``last_color``; 2,000 pairs, three
digits) and of a probe's direction (``last_probe``; 4,000 images of the IID test).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from hf_relvit.analysis.correlation import correlate, pearson
from hf_relvit.files import write_json
from hf_relvit.provenance import provenance
from hf_relvit.statistics import wilson

RESULTS = Path(__file__).parents[1] / "docs" / "results"
N = 6400  # images of a training set and of a test set, as meant
TABLE = pd.read_csv(RESULTS / "published.csv")
# DAS on shape and its wrong-object control, CLIP ViT-B/16, discrimination, 256 combinations, layers 0 to 11
SWAP = [0.623, 0.830, 0.936, 0.918, 0.641, 0.244, 0.128, 0.076, 0.019, 0.011, 0.007, 0.007]
WRONG = [0.486, 0.502, 0.485, 0.520, 0.434, 0.241, 0.150, 0.085, 0.022, 0.011, 0.006, 0.007]


def figure_6() -> pd.DataFrame:
    """Fig. 6: Pearson r of disentanglement and accuracy, also without some models, and above the floor of DAS."""
    table, rows = TABLE.dropna(subset="das_shape").set_index("model"), []
    x = table[["das_shape", "das_color"]].mean(axis=1)
    sets = {"all": x, **{f"without {model}": x.drop(model) for model in x.index}}
    sets |= {"without scratch, MAE": x.drop(["scratch", "MAE"])}
    sets |= {"all, above the floor": x - table[["last_shape", "last_color"]].mean(axis=1)}
    for split, (models, part) in itertools.product(("iid", "comp", "ood_both"), sets.items()):
        points = np.c_[part, table.loc[part.index, split]]
        r, half = pearson(points), stats.norm.ppf(0.975) / np.sqrt(len(points) - 3)
        shuffled = [pearson(np.c_[part, order]) for order in itertools.permutations(points[:, 1])]
        row = {"split": split, "models": models, "n": len(points), "r": r}
        row |= {
            "fisher_low": np.tanh(np.arctanh(r) - half),
            "fisher_high": np.tanh(np.arctanh(r) + half),
        }
        row |= {"p_permutation": np.mean(np.abs(shuffled) >= abs(r) - 1e-12)}
        if models == "all":
            runs = pd.DataFrame(
                {"run": part.index, "disentanglement": points[:, 0], "accuracy": points[:, 1]}
            )
            boot = correlate(runs.assign(split=split)).frame.iloc[0]
            row |= {"bootstrap_low": boot.ci_low, "bootstrap_high": boot.ci_high}
        rows.append(row)
    return pd.DataFrame(rows)


def possible(values) -> np.ndarray:
    """Which figures are a whole number of N images, to four digits (a GRIM test; 64 % of all figures are)."""
    values = np.asarray(values, dtype=float)
    return np.abs(np.round(values * N) / N - values) <= 5.0001e-5


def coincidences() -> pd.DataFrame:
    """A1: is the IID accuracy the compositional one, and how probable is that for two sets that are equally hard?"""
    table, counts = (
        TABLE.dropna(subset="iid")[["model", "task", "objects", "val", "iid", "comp"]],
        np.arange(N + 1),
    )
    chance = [
        (stats.binom.pmf(counts, N, p) ** 2).sum() for p in table[["iid", "comp"]].mean(axis=1)
    ]
    near = (table.iid - table.comp).abs() < 1.01e-4  # one image can be rounded either way
    return table.assign(p_equal=chance, equal=near & possible(table.iid) & possible(table.comp))


def denominators() -> pd.DataFrame:
    """A2: which published accuracies are possible at all with N images?"""
    rows = []
    for task, objects in itertools.product(("disc", "rmts"), (32, 256)):
        part = TABLE[(TABLE.task == task) & (TABLE.objects == objects)]
        for split in ("val", "iid", "comp", "ood_shape", "ood_color", "ood_both"):
            fits = possible(part[split].dropna())
            rows.append(
                {
                    "task": task,
                    "objects": objects,
                    "split": split,
                    "figures": len(fits),
                    "possible": fits.sum(),
                }
            )
    return pd.DataFrame(rows)


def ceilings() -> pd.DataFrame:
    """A3: sizes of the training set at which a perfect model scores the published figure: dropped images count."""
    rows = []
    for figure, part in TABLE[TABLE.objects == 32].query("0.98 < train < 1").groupby("train"):
        row = {"train": figure, "models": ", ".join(part.model + " " + part.task)}
        for batch in (64, 128):
            sizes = [n for n in range(6100, N) if abs(n // batch * batch / n - figure) <= 5e-5]
            row[f"sizes_batch_{batch}"] = ", ".join(map(str, sizes)) or "none"
        rows.append(row)
    return pd.DataFrame(rows)


def generate(objects: list[tuple[int, int]], rng: random.Random, half: int = N // 2) -> int:
    """How many "same" images the official generator leaves, after its readable code; objects are (shape, color).

    When an object is kept for the first time, the whole list of its different pair's places is copied, with those that
    are not drawn yet; they count as images but are skipped later. Places used before give one file name twice.
    """
    kinds = ((True, True), (True, False), (False, True))  # differ in shape, in color: taken in turn
    objects = rng.sample(objects, len(objects))
    partners: dict = {one: [] for one in objects}
    made = kind = total = 0
    for one in itertools.cycle(objects):
        if made == half:
            break
        fitting = [two for two in objects if (one[0] != two[0], one[1] != two[1]) == kinds[kind]]
        if fitting:
            partners[one].append(
                rng.choice([two for two in fitting if two not in partners[one]] or fitting)
            )
            made += 1
        kind = (kind + 1) % 3 if fitting else 0
    places: dict = {}
    for image, pair in enumerate((one, two) for one in objects for two in partners[one]):
        places.setdefault(pair, []).append(image)
    same: dict = {}
    for pair, images in places.items():
        for i in range(len(images)):
            kept = rng.choice(pair)
            if total < half:
                new = (
                    images[i : i + 1]
                    if kept in same
                    else images[: i + 1] + [-1] * (len(images) - i - 1)
                )
                same.setdefault(kept, []).extend(new)
                total += len(new)
    return len(set(itertools.chain(*same.values())) - {-1})


def shortfall(draws: int = 20) -> pd.DataFrame:
    """A2, A3: images that a discrimination set ends up with, chance, and a perfect training accuracy at batch 128."""
    band = [((14 + color + step) % 16, color) for color in range(16) for step in range(2)]
    every, rows = list(itertools.product(range(16), range(16))), []
    sets = {"32: train, val": band, "224: test": sorted(set(every) - set(band)), "256": every}
    sets |= {
        "64: OOD shape, color": every[:64],
        "16: OOD both": list(itertools.product(range(4), range(4))),
    }
    for name, objects in sets.items():
        total = N // 2 + np.array([generate(objects, random.Random(seed)) for seed in range(draws)])
        perfect = total // 128 * 128 / total
        row = {
            "objects": name,
            "draws": draws,
            "images_min": total.min(),
            "images_max": total.max(),
        }
        row |= {
            "images_mean": total.mean(),
            "share_same": 1 - N / 2 / total.mean(),
            "chance": N / 2 / total.mean(),
        }
        rows.append(row | {"perfect_min": perfect.min(), "perfect_max": perfect.max()})
    return pd.DataFrame(rows)


def analyzed() -> pd.DataFrame:
    """9.5: accuracy as the analysis saw it, against the least that the published validation accuracy allows.

    RMTS: images of the IID test as they come. Discrimination: half of the pairs differ in one property, as a sixth of
    the validation images do, so the analysis can see three times the error at most. ``lost``: from the upper end of
    what it saw to the lower end of what is allowed; where positive, neither chance nor the choice of images is enough.
    """
    rows = []
    for column, n, times in (
        ("last_shape", 2000, 3),
        ("last_color", 2000, 3),
        ("last_probe", 4000, 1),
    ):
        for run in TABLE.dropna(subset=column).itertuples():
            seen = 1 - getattr(run, column)
            low, high = map(float, wilson(round(seen * n), n))
            least = max(0.0, 1 - times * (1 - float(wilson(round(run.val * N), N)[0])))
            row = {
                "model": run.model,
                "task": run.task,
                "objects": run.objects,
                "by": column,
                "seen": seen,
                "n": n,
            }
            row |= {
                "ci_low": low,
                "ci_high": high,
                "val": run.val,
                "least": least,
                "lost": max(0.0, least - high),
            }
            rows.append(row)
    return pd.DataFrame(rows).sort_values(["task", "objects", "model"])


def control(n: int = 2000) -> pd.DataFrame:
    """A6: DAS beside its wrong-object control, under which a perfect swap scores .5: half of the pairs can succeed.

    ``flips_low``, ``flips_high``: what the accuracy leaves open for different -> same, where the control fails.
    """
    rows = []
    for layer, (swap, wrong) in enumerate(zip(SWAP, WRONG)):
        (a, b), (c, d) = (map(float, wilson(round(v * n), n)) for v in (swap, wrong))
        row = {"layer": layer, "swap": swap, "wrong_object": wrong, "difference": swap - wrong}
        row |= {"ci_low": swap - wrong - np.hypot(swap - a, d - wrong)}  # Newcombe's interval
        row |= {
            "ci_high": swap - wrong + np.hypot(b - swap, wrong - c),
            "control_is_half": c <= 0.5 <= d,
        }
        rows.append(row | {"flips_low": max(0.0, 2 * swap - 1), "flips_high": min(1.0, 2 * swap)})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "published_doubts.json", help="every table, as JSON"
    )
    out, result = parser.parse_args().out, {"provenance": provenance()}
    for make in (figure_6, coincidences, denominators, ceilings, shortfall, analyzed, control):
        table = make()
        print(
            f"\n{make.__doc__.splitlines()[0]}\n{table.to_string(index=False, na_rep='', float_format='%.4g')}"
        )
        result[make.__name__] = table.astype(object).where(table.notna(), None).to_dict("records")
    tail = np.ones(1)  # distribution of the number of coincidences, row by row
    for row in result["coincidences"]:
        tail = np.convolve(tail, [1 - row["p_equal"], row["p_equal"]])
    equal = sum(row["equal"] for row in result["coincidences"])
    result["coincidences_in_all"] = {
        "rows": len(tail) - 1,
        "equal": equal,
        "expected": tail @ np.arange(len(tail)),
    }
    result["coincidences_in_all"] |= {"p_at_least": tail[equal:].sum()}
    print(
        "\nA1 in all:",
        {key: float(f"{value:.3g}") for key, value in result["coincidences_in_all"].items()},
    )
    write_json(out, json.loads(json.dumps(result, default=lambda value: value.item())))
    print(f"written to {out}")


if __name__ == "__main__":
    main()
