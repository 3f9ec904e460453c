"""Side effects of an alignment: one row for each property, layer and split.

Interchange accuracy alone does not show that the model uses the subspace (arXiv 2402.17700, 2507.08802, 2607.00267):

1. Cause: the share of answers that follow the swap. It must exceed all of its controls: another object, background,
   random directions, states without a value, shuffled labels and random weights.
2. Isolate: the share that stays when the *other* property of the source is another one.
3. Unmapped: pairs whose source is the base with one thing changed that the property does not depend on
   (``unmapped_pairs``); every answer must stay.
4. Divergence: how far edited states are from natural ones.
5. ``verdict`` weighs these by one rule; ``agreement`` says how alike the subspaces of several seeds are.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch

from ..claims import exceeds_controls
from ..doors import check_choice
from ..errors import RelViTError
from ..measurements import Measurement
from ..stimuli.counterfactuals import PROPERTIES, CounterfactualTable
from ..stimuli.scenes import SceneTable
from ..tables import select
from .alignment import Alignment

if TYPE_CHECKING:
    from jaxtyping import Float

Unmapped = Literal[
    "position",
    "mirrored",
    "flipped",
    "turned",
    "exchanged",
    "jitter",
    "jitter_rows",
    "jitter_columns",
    "no_jitter",
    "noise",
    "other_shape",
    "other_color",
    "other_object",
    "other_property",
    "everything",
]
"""Variables that no alignment of a shape or color may carry; the background is the control "random_tokens"."""
Swapped = Literal["edited", "fixed"]
"""Which object of the judged pair is swapped with itself in a changed scene."""
_PARTS = {
    "cause": {"score": "cause", "control": "none", "weights": "trained"},
    "isolate": {"score": "isolate", "control": "none", "weights": "trained"},
    "wrong_object": {"control": "wrong_object", "weights": "trained"},
    "random_tokens": {"control": "random_tokens", "weights": "trained"},
    "random_directions": {"control": "random_directions", "weights": "trained"},
    "shuffled_labels": {"control": "shuffled_labels", "weights": "trained"},
    "random_weights": {"score": "cause", "control": "none", "weights": "random"},
    "position": {"score": "unmapped", "control": "position"},
    "jitter": {"score": "unmapped", "control": "jitter"},
    "noise": {"score": "unmapped", "control": "noise"},
    "other_object": {"score": "unmapped", "control": "other_object"},
    "mean": {"control": "mean", "weights": "trained"},
    "replaced_by_noise": {"control": "noise", "weights": "trained", "score": "cause"},
    "other_image": {"control": "other_image", "weights": "trained"},
}
"""Column of the table -> rows of the scores that it is read from."""
_CONTROLS = (
    "wrong_object",
    "random_tokens",
    "random_directions",
    "shuffled_labels",
    "random_weights",
    "mean",
    "replaced_by_noise",
    "other_image",
)
"""Columns that the cause must exceed."""
_NEEDED = ("wrong_object", "random_weights", "isolate")
"""Columns without which there is no verdict."""
_MEASURED = {"accuracy": "", "ci_low": "_low", "ci_high": "_high", "n": "_n"}
"""Column of the scores -> ending of the table's columns."""
_PLACES = {
    "position": [],
    "exchanged": [],
    "mirrored": [1],
    "flipped": [0],
    "turned": [0, 1],
}
"""Changes of places -> axes that are mirrored."""
_OFFSETS = {
    "no_jitter": [],
    "jitter": [0, 1],
    "jitter_rows": [0],
    "jitter_columns": [1],
}
"""Changes of offsets -> axes that are those of the next pair."""
_VALUES: dict[str, Sequence[str]] = {
    "other_shape": ["shape"],
    "other_color": ["color"],
    "other_object": PROPERTIES,
}
"""Changes of the other object -> its properties that change."""
Verdict = Literal["carries", "in part", "no", "not measured"]
UNNATURAL = 10.0
"""Mahalanobis distance of edited states, in that of unedited ones, from which on an alignment may be an illusion: it
works through directions that the network never uses (Makelov et al., arXiv 2311.17030). Our choice."""


def unmapped_pairs(
    pairs: CounterfactualTable, variable: Unmapped, swapped: Swapped = "edited"
) -> CounterfactualTable:
    """Pairs whose source is the base with one thing changed that the property does not depend on.

    The object that is swapped takes the state of itself in the changed scene, so no answer may change: the label is
    the base's. The scene variables are the high-level model of arXiv 2607.00267, the choice of changes is ours:

    - places of all objects: "position" (those of the next pair), "mirrored" (left and right), "flipped" (top and
      bottom), "turned" (both), "exchanged" (each pair of objects);
    - offsets in their patches: "jitter" (those of the next pair), "jitter_rows", "jitter_columns", "no_jitter";
    - "noise" (that of the source);
    - the other object of the pair: "other_shape", "other_color", "other_object" (both);
    - "other_property": the swapped object's own color for an alignment of shapes, and its shape for one of colors;
    - "everything": position, jitter, noise and the other object.

    A changed scene may belong to another split, and an object with another property to no split. Scenes have objects
    of one size, so there is no change of sizes.

    Args:
        pairs: about any property.
        variable: that changes.
        swapped: "edited", or "fixed", the other object of the judged pair.

    Raises:
        RelViTError: another variable or object.
    """
    check_choice("variable", variable, Unmapped)
    check_choice("swapped", swapped, Swapped)
    if swapped == "fixed":
        pairs = dataclasses.replace(pairs, edited=pairs.fixed, fixed=pairs.edited)
    source = dataclasses.replace(pairs.base, **_changed(pairs, variable))
    return dataclasses.replace(
        pairs,
        source=source,
        source_object=pairs.edited,
        other_source=pairs.fixed,
        label=pairs.base.label,
    )


def changes_something(pairs: CounterfactualTable) -> bool:
    """Whether any source differs from its base: scenes without jitter have none to change."""
    for name in ("corner", "jitter", "index", "shape", "color"):
        before = getattr(pairs.base, name)
        after = getattr(pairs.source, name)
        if not np.array_equal(before, after):
            return True
    return False


def _changed(pairs: CounterfactualTable, variable: Unmapped) -> dict[str, Any]:
    """Columns of the changed scenes."""
    base = pairs.base
    if variable in _PLACES:
        return {"corner": _moved(base, variable)}
    if variable in _OFFSETS:
        return {"jitter": _jittered(base, variable)}
    if variable == "noise":
        return {"index": pairs.source.index}
    if variable == "other_property":
        (other,) = set(PROPERTIES) - {pairs.property}
        return _other_values(pairs, [other], pairs.edited, pairs.source_object)
    if variable in _VALUES:
        names = _VALUES[variable]
        return _other_values(pairs, names, pairs.fixed, pairs.other_source)
    changed: dict[str, Any] = {}
    parts: tuple[Unmapped, ...] = ("position", "jitter", "noise", "other_object")
    for part in parts:
        changed.update(_changed(pairs, part))
    return changed


def _moved(base: SceneTable, variable: str) -> np.ndarray:
    """Other places, ``(n, k, 2)``."""
    if variable == "position":
        return np.roll(base.corner, 1, axis=0)
    if variable == "exchanged":
        count = base.corner.shape[1]
        partner = np.arange(count) ^ 1
        return base.corner[:, partner]
    axes = _PLACES[variable]
    corner = base.corner.copy()
    last = base.geometry.grid - base.geometry.object_patches
    corner[..., axes] = last - corner[..., axes]
    return corner


def _jittered(base: SceneTable, variable: str) -> np.ndarray:
    """Other offsets, ``(n, k, 2)``."""
    if variable == "no_jitter":
        return np.zeros_like(base.jitter)
    axes = _OFFSETS[variable]
    next_jitter = np.roll(base.jitter, 1, axis=0)
    jitter = base.jitter.copy()
    jitter[..., axes] = next_jitter[..., axes]
    return jitter


def _other_values(
    pairs: CounterfactualTable,
    names: Sequence[str],
    objects: np.ndarray,
    givers: np.ndarray,
) -> dict[str, Any]:
    """Shapes or colors ``(n, k)`` where objects of the base have those of objects of the source."""
    rows = np.arange(len(pairs))
    changed = {}
    for name in names:
        own = getattr(pairs.base, name)
        given = getattr(pairs.source, name)
        values = own.copy()
        values[rows, objects] = given[rows, givers]
        changed[name] = values
    return changed


def validity_table(scores: pd.DataFrame) -> pd.DataFrame:
    """One row for each alignment and split, from the rows of its scores and controls.

    Args:
        scores: of ``align``.

    Returns:
        ``property, method, layer, split, size``; shares of answers, each with ``_low``, ``_high`` (Wilson, 95 %) and
        ``_n``: ``cause`` (follow the swap), ``isolate`` (stay when the other property changes), ``wrong_object,
        random_tokens, random_directions, shuffled_labels, random_weights`` (controls of the cause), and ``position,
        jitter, noise, other_object`` (stay when that changes); ``mean, replaced_by_noise, other_image`` (follow where
        the source's state is replaced, see ``interchange.replaced``); ``unmapped``, the smallest share of answers that
        stay among all changes that were measured, ``unmapped_variables`` of them, with ``unmapped_worst``, its
        variable; ``disentangle``, the mean of cause and isolate; ``excess_random`` and
        ``excess_shuffled``, the cause less those controls, with the interval of the difference (Newcombe, 1998);
        ``divergence`` (Mahalanobis), ``emd`` and ``emd_unedited``, see ``score_alignment``; NaN where not measured;
        and the ``verdict``.
    """
    keys = ["property", "method", "layer", "split"]
    rows = []
    for key, every in scores.groupby(keys, sort=False):
        group = select(every, condition="all")
        own = select(group, **_PARTS["cause"])
        row: dict[str, Any] = dict(zip(keys, key))
        for name, columns in _PARTS.items():
            part = select(group, **columns)
            row.update(_measured(name, part))
        for column in ("size", "divergence", "emd", "emd_unedited"):
            row[column] = _first(own, column)
        row["disentangle"] = (row["cause"] + row["isolate"]) / 2
        row.update(_faithfulness(group))
        row.update(_excess(row, "random", "random_weights"))
        row.update(_excess(row, "shuffled", "shuffled_labels"))
        row["verdict"] = verdict(pd.DataFrame(every))
        rows.append(row)
    return pd.DataFrame(rows)


def _measured(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    """A share with its interval and number, by the names of the table; NaN where it was not measured."""
    measured = {}
    for column, suffix in _MEASURED.items():
        measured[f"{name}{suffix}"] = _first(rows, column)
    return measured


def _first(rows: pd.DataFrame, column: str) -> Any:
    """A value of the first row; NaN where there is none, as of the EMD in tables of the first version."""
    known = column in rows and len(rows)
    return rows[column].iloc[0] if known else np.nan


def verdict(scores: pd.DataFrame) -> Verdict:
    """The verdict on an alignment, by one rule; our choice.

    "not measured": no wrong object, no random weights or no isolate score. "no": the cause is not above all of its
    controls and doing nothing (``claims.exceeds_controls``). "carries": it is, and more than half of the answers
    follow in either direction, more than half of those that doing nothing gives right stay when the other property or
    an unmapped variable changes, and edited states are less than UNNATURAL times as far from natural ones as unedited
    ones. "in part": anything between.
    Networks with known mechanisms test it: tests/analysis/test_planted.py.

    Args:
        scores: of ``align``, of one alignment on one split.
    """
    whole = select(scores, condition="all")
    parts = {name: select(whole, **columns) for name, columns in _PARTS.items()}
    if any(parts[name].empty for name in _NEEDED):
        return "not measured"
    effect = parts["cause"]
    controls = pd.concat([parts[name] for name in _CONTROLS], ignore_index=True)
    measured = [Measurement.from_row(row, "") for _, row in effect.iterrows()]
    limits = [Measurement.from_row(row, "") for _, row in controls.iterrows()]
    if not measured or not exceeds_controls(measured[0], limits):
        return "no"
    by_direction = scores[scores.condition != "all"]
    either = select(by_direction, **_PARTS["cause"])
    kept = whole[whole.score.isin(["isolate", "unmapped"])]
    follows = either.ci_low > 0.5
    stays = kept.ci_low > kept.floor / 2
    natural = effect.divergence < UNNATURAL
    carries = follows.all() and stays.all() and natural.all()
    return "carries" if carries else "in part"


def _faithfulness(scores: pd.DataFrame) -> dict[str, Any]:
    """The change of an unmapped variable after which the fewest answers stay."""
    changes = select(scores, score="unmapped")
    worst = changes.nsmallest(1, "accuracy")
    return {
        "unmapped_variables": len(changes),
        "unmapped_worst": worst["control"].iloc[0] if len(worst) else "",
        **_measured("unmapped", worst),
    }


def _excess(row: dict[str, Any], name: str, control: str) -> dict[str, float]:
    """The cause less a control, with Newcombe's interval of a difference of two shares."""
    cause = row["cause"]
    other = row[control]
    difference = cause - other
    below = np.hypot(cause - row["cause_low"], row[f"{control}_high"] - other)
    above = np.hypot(row["cause_high"] - cause, other - row[f"{control}_low"])
    return {
        f"excess_{name}": difference,
        f"excess_{name}_low": difference - below,
        f"excess_{name}_high": difference + above,
    }


def principal_angles(first: Alignment, second: Alignment) -> Float[np.ndarray, " angles"]:
    """Angles between the subspaces that two alignments write, degrees, the smallest first: ``(smaller size,)``.

    Raises:
        RelViTError: alignments of different widths, or of no direction.
    """
    if first.width != second.width or 0 in (first.size, second.size):
        raise RelViTError(
            f"{first.size} directions of width {first.width}, {second.size} of width {second.width}: expected at "
            "least one each, of the same width"
        )
    return _angles(first.write_basis, second.write_basis)


def read_write_angles(alignment: Alignment) -> Float[np.ndarray, " angles"]:
    """Angles between the subspaces that an alignment reads and writes, degrees ``(size,)``; 0 for orthogonal ones."""
    return _angles(alignment.basis, alignment.write_basis)


def _angles(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    """Between the spans of rows."""
    one = _orthonormal(first)
    other = _orthonormal(second)
    cosines = torch.linalg.svdvals(one.T @ other)
    angles = torch.acos(cosines.clamp(max=1))
    return torch.rad2deg(angles).numpy()


def _orthonormal(rows: torch.Tensor) -> torch.Tensor:
    """Orthonormal columns that span the rows, float64 ``(hidden, size)``."""
    return torch.linalg.qr(rows.double().T).Q


def agreement(alignments: Sequence[Alignment]) -> pd.DataFrame:
    """How far searches with different seeds agree: a row for each property and layer with several alignments.

    Args:
        alignments: of several seeds.

    Returns:
        ``property, layer, seeds, smallest, mean, largest``: principal angles in degrees, means over the pairs of
        seeds that found a direction; NaN where fewer than two did. Subspaces that have nothing in common are at about
        90.
    """
    groups: dict[tuple[str, int], list[Alignment]] = {}
    for each in alignments:
        group = groups.setdefault((each.property, each.site.layer), [])
        group.append(each)
    rows = []
    for (prop, layer), group in groups.items():
        if len(group) < 2:
            continue
        found = [each for each in group if each.size]
        angles = [principal_angles(*pair) for pair in itertools.combinations(found, 2)]
        of_pairs = [(each[0], each.mean(), each[-1]) for each in angles]
        means = np.mean(of_pairs, axis=0) if of_pairs else np.full(3, np.nan)
        named = dict(zip(("smallest", "mean", "largest"), means.tolist()))
        rows.append({"property": prop, "layer": layer, "seeds": len(group), **named})
    return pd.DataFrame(rows)
