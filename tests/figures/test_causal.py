import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from hf_relvit.figures.causal import alignment_figure


def scores(layers):
    row = dict(
        property="shape",
        split="test",
        score="cause",
        control="none",
        condition="all",
        weights="trained",
    )
    numbers = dict(accuracy=0.6, ci_low=0.5, ci_high=0.7, base_accuracy=0.9, floor=0.1, n=64)
    return pd.DataFrame([row | numbers | {"layer": layer} for layer in layers])


@pytest.mark.parametrize("layers", [[2], [0, 1, 2]])
def test_interval_and_references_show_whether_one_layer_or_many(layers):
    (axis,) = alignment_figure(scores(layers)).axes
    heights = [np.ptp(path.vertices[:, 1]) for c in axis.collections for path in c.get_paths()]
    assert max(heights) == pytest.approx(0.2)  # the interval
    lines = [
        segment
        for c in axis.collections
        if isinstance(c, LineCollection)
        for segment in c.get_segments()
    ]
    lines += [line.get_xydata() for line in axis.lines]
    for reference in (0.9, 0.1):
        assert any(np.ptp(line[:, 0]) > 0 and (line[:, 1] == reference).all() for line in lines)
