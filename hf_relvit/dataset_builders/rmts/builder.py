"""Relational match to sample: do two pairs show the same relation?"""

from __future__ import annotations

from ...building.common import SceneBuilder


class RMTS(SceneBuilder):
    """The relational match-to-sample task (paper, section 3.1): ``RMTS(config_name="b16-32", seed=1)``."""

    task = "rmts"
