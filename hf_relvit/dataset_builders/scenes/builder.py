"""Scenes of any task of ``stimuli.tasks`` as a dataset: a new relation needs no builder of its own."""

from __future__ import annotations

from hf_relvit.stimuli.tasks import task_of

from ...building.common import SceneBuilder


class Scenes(SceneBuilder):
    """The scenes of a task: ``Scenes(task="rmts", config_name="b16-32", seed=1)``; arguments as ``SceneBuilder``.

    Raises:
        RelViTError: no such task, and as ``SceneBuilder``.
    """

    def __init__(
        self,
        cache_dir: str | None = None,
        config_name: str | None = None,
        *,
        task: str,
        **keywords,
    ):
        self.task = task_of(task).name
        super().__init__(cache_dir, config_name, **keywords)
