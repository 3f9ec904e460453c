import pandas as pd
import pytest

from hf_relvit.figures.comparison import curves_figure, settings_figure


def test_each_setting_has_a_bar_and_each_seed_a_dot():
    means = pd.DataFrame([("a", "test", 0.7, 0.6, 0.8, 0.5), ("b", "test", 0.9, 0.85, 0.95, 0.5)],
                         columns=["setting", "split", "accuracy", "ci_low", "ci_high", "floor"])  # fmt: skip
    seeds = pd.DataFrame([("a", "test", 0.65), ("a", "test", 0.75), ("b", "test", 0.9)],
                         columns=["setting", "split", "accuracy"])  # fmt: skip
    (axis,) = settings_figure(means, seeds).axes
    assert [bar.get_height() for bar in axis.patches] == [0.7, 0.9]
    dots = sorted(y for line in axis.lines if line.get_marker() == "o" for y in line.get_ydata())
    assert dots == [0.65, 0.75, 0.9]


def test_curves_draw_each_seed_and_their_mean():
    rows = [
        ("a", f"a-seed{seed}", "validation", images, 0.5 + 0.1 * seed)
        for seed in (0, 1)
        for images in (10, 20)
    ]
    (axis,) = curves_figure(
        pd.DataFrame(rows, columns=["setting", "run", "split", "images", "accuracy"])
    ).axes
    heights = sorted(float(line.get_ydata()[0]) for line in axis.lines)
    assert heights == pytest.approx([0.5, 0.5, 0.55, 0.6])  # guessing, a seed, the mean, a seed
