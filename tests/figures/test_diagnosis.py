import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
import pytest

from hf_relvit.figures.diagnosis import READINGS, diagnosis_figure


def test_each_criterion_shows_its_value_interval_threshold_and_control():
    columns = [
        "key",
        "name",
        "stage",
        "split",
        "value",
        "ci_low",
        "ci_high",
        "threshold",
        "control",
        "decides",
        "reading",
    ]
    rows = [
        (
            "answers",
            "answers are right",
            "behavior",
            "test",
            0.9,
            0.85,
            0.95,
            0.75,
            0.5,
            True,
            "yes",
        ),
        (
            "probe",
            "shape can be read",
            "perceptual",
            "test",
            0.3,
            0.2,
            0.4,
            0.6,
            np.nan,
            True,
            "no",
        ),
        (
            "push",
            "a push flips",
            "relational",
            "test",
            0.55,
            0.45,
            0.65,
            0.5,
            0.1,
            False,
            "unclear",
        ),
    ]
    (axis,) = diagnosis_figure(pd.DataFrame(rows, columns=columns)).axes
    drawn = [
        (tuple(np.round(line.get_xdata(), 6)), mcolors.to_hex(line.get_color()))
        for line in axis.lines
    ]
    places = [x for x, _ in drawn]
    for _, name, _, _, value, low, high, threshold, control, decides, reading in rows:
        color = mcolors.to_hex(READINGS[reading][0])
        assert ((low, high), color) in drawn and ((value,), color) in drawn
        assert (threshold, threshold) in places
        assert not np.isfinite(control) or (control,) in places
        assert (name if decides else f"({name})") in [text.get_text() for text in axis.texts]


@pytest.mark.parametrize("names", [("read", "swap"), ("read", "read")])
def test_questions_are_told_apart_by_key_whatever_their_words(names):
    """On two splits, two questions take two lines of the figure, even with the same words."""
    numbers = dict(value=0.5, ci_low=0.4, ci_high=0.6, threshold=0.5, control=np.nan)
    rows = [
        dict(key=key, name=name, stage="perceptual", split=split, decides=True, reading="unclear")
        for split in ("test", "test_compositional")
        for key, name in zip(("probe_shape", "swap_shape"), names)
    ]
    (axis,) = diagnosis_figure(pd.DataFrame([row | numbers for row in rows])).axes
    heights = {line.get_ydata()[0] for line in axis.lines if len(line.get_xdata()) == 1}
    assert len(heights) == 4
    assert [text.get_text() for text in axis.texts if text.get_text() in names] == list(names)
