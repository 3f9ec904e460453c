"""Small multiples: a chart for each pair of values, one legend for all, nothing shown that was not measured."""

from itertools import product

import pandas as pd
import pytest

from hf_relvit.figures.causal import alignment_figure, novel_figure, probe_figure, steering_figure
from hf_relvit.figures.comparison import curves_figure

NUMBERS = dict(accuracy=0.6, ci_low=0.5, ci_high=0.7, base_accuracy=0.9, floor=0.1, n=64)


def table(**columns):
    rows = [dict(zip(columns, values)) for values in product(*columns.values())]
    return pd.DataFrame([row | NUMBERS for row in rows])


ALIGNMENT = table(
    property=["shape", "color"],
    split=["test", "test_compositional"],
    layer=[1, 0],
    score=["cause"],
    control=["none", "wrong_object"],
    condition=["all", "same"],
    weights=["trained"],
)
STEERING = table(
    pair=["sample", "display"],
    alpha=[4.0, 1.0],
    layer=[1, 0],
    condition=["flip", "agree", "shuffled"],
    relative_norm=[0.25],
)
NOVEL = table(
    property=["shape"],
    baseline=["subspace", "full_residual", "blank_image"],
    method=["known", "random"],
    layer=[1, 0],
    condition=["all", "same"],
)
CASES = {
    "alignment": (
        alignment_figure,
        ALIGNMENT,
        ["shape, IID test", "color, IID test", "shape, compositional", "color, compositional"],
        ["the object's property", "wrong object's", "no edit, own answer", "no edit, new answer"],
    ),
    "steering": (
        steering_figure,
        STEERING,
        [
            f"{pair} pair, α = {alpha}, 25% as long"
            for pair in ("sample", "display")
            for alpha in (1, 4)
        ],
        [
            "steered to the other relation",
            "steered to its own",
            "other relation, shuffled probe",
            "no edit, own answer",
            "no edit, new answer",
        ],
    ),
    "novel": (
        novel_figure,
        NOVEL,
        ["shape, in the subspace", "shape, whole residual", "shape, objects erased first"],
        ["another object's", "random", "no edit, own answer", "no edit, new answer"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_chart_for_each_pair_of_values_and_one_legend(case):
    draw, rows, titles, lines = CASES[case]
    figure = draw(rows)
    assert [axis.get_title(loc="left") for axis in figure.axes] == titles
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == lines
    for axis in figure.axes:
        for line in axis.lines:
            assert list(line.get_xdata()) == sorted(line.get_xdata())


@pytest.mark.parametrize("count, shown", [(1, 1), (4, 4), (5, 5)])
def test_panels_without_a_table_stay_empty(count, shown):
    """Panels that follow each other fill whole rows of three; the rest of the last row is not drawn."""
    targets = ["judgement", "shape", "color", "object", "same_object"][:count]
    probes = table(target=targets, form=["linear"], layer=[0, 1], condition=["trained", "shuffled"])
    assert sum(axis.get_visible() for axis in probe_figure(probes).axes) == shown
    curves = table(
        split=["validation", "test", "test_compositional", "test_ood_shape", "test_ood_color"][
            :count
        ],
        setting=["a"],
        run=["a-seed0"],
        images=[10, 20],
    )
    assert sum(axis.axison for axis in curves_figure(curves).axes) == shown
