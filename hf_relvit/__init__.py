"""How do vision transformers see relations between objects?

Scenes become pixels (``stimuli``), pixels become a fine-tuned vision transformer (``modeling``, ``training``), the
transformer becomes measurements (``analysis``), and the measurements become a report (``study``). Importing the
package loads neither torch nor datasets; the names below load what they need when they are first used. From then on
the Auto classes of transformers open our checkpoints.
"""

from __future__ import annotations

import importlib

from .registration import register

__version__ = "0.1.0"

_HOME = {
    "GEOMETRIES": "geometry",
    "PatchGeometry": "geometry",
    "SceneGeometry": "geometry",
    "ObjectSet": "stimuli.objects",
    "SceneTable": "stimuli.scenes",
    "sample": "stimuli.scenes",
    "render": "stimuli.rendering",
    "render_masks": "stimuli.rendering",
    "RelViTConfig": "modeling",
    "RelViTModel": "modeling",
    "RelViTForImageClassification": "modeling",
    "Checkpoint": "modeling.checkpoints",
    "SceneDistribution": "stimuli.distribution",
    "RelViTTrainer": "training.trainer",
    "TrainConfig": "training.config",
    "train": "training.run",
    "evaluate": "training.evaluation",
    "measure_attention": "analysis.attention",
    "RelViTError": "errors",
}
__all__ = ["__version__", *_HOME]

register()


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'hf_relvit' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__():
    return __all__
