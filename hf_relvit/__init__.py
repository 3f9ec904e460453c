"""How do vision transformers see relations between objects?

Scenes become pixels (``stimuli``), pixels become a fine-tuned vision transformer (``modeling``, ``training``), the
transformer becomes measurements (``analysis``), and the measurements become a report (``study``). Importing the
package loads neither torch nor datasets; the names below load their needs when they are first used. From then on
the Auto classes of transformers open our checkpoints.
"""

from __future__ import annotations

from .lazy import lazy_names
from .registration import register

__version__ = "0.1.0"
__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "errors": ("RelViTError",),
        "geometry": ("GEOMETRIES", "PatchGeometry", "SceneGeometry"),
        "stimuli": (
            "CounterfactualTable",
            "ObjectSet",
            "SceneDistribution",
            "SceneTable",
            "sample_isolation_pairs",
            "render",
            "render_masks",
            "sample",
            "sample_counterfactuals",
        ),
        "stimuli.own_pictures": ("OwnPictures",),
        "stimuli.photorealistic.pairs": ("PhotoPairs",),
        "building.build": ("build",),
        "building.settings": ("BuildConfig",),
        "building.dataset_folder": ("open_folder",),
        "modeling": ("RelViTConfig", "RelViTForImageClassification", "RelViTModel"),
        "modeling.checkpoints": ("Checkpoint",),
        "training": ("RelViTTrainer", "TrainConfig", "evaluate", "sample_splits", "train"),
        "analysis.align": ("AlignConfig", "Alignments", "align"),
        "analysis": (
            "Alignment",
            "AttentionConfig",
            "AttentionStages",
            "Battery",
            "BatteryConfig",
            "Correlation",
            "CorrelationConfig",
            "DASConfig",
            "Diagnosis",
            "DiagnosisConfig",
            "Knockout",
            "KnockoutConfig",
            "Novel",
            "NovelConfig",
            "ProbeConfig",
            "Probes",
            "Similarity",
            "SimilarityConfig",
            "Site",
            "Steering",
            "SteeringConfig",
            "correlate",
            "diagnose",
            "fit_alignment",
            "fit_probes",
            "inject_novel",
            "knock_out_heads",
            "measure_attention",
            "measure_battery",
            "measure_pictures",
            "measure_similarity",
            "capture_object_states",
            "capture_pair_residuals",
            "probe",
            "capture_residuals",
            "score_alignment",
            "steer",
        ),
        "report": ("RunFolder", "StudyFolder"),
        "report.collect": ("collect",),
        "study.grid": ("plan",),
        "study": ("run_study",),
    },
)

register()
