"""Same or different? Two objects, one judgment."""

from __future__ import annotations

from ...building.common import SceneBuilder


class Discrimination(SceneBuilder):
    """The discrimination task (paper, section 3.1): ``Discrimination(config_name="b16-32", n_train=12800)``."""

    task = "discrimination"
