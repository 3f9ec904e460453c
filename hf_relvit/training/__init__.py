"""Training on scenes, and the accuracy of trained models."""

from ..lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "config": (
            "PRESETS",
            "TrainConfig",
            "resolve",
            "vit",
        ),
        "data": (
            "PublishedScenes",
            "RelViTCollator",
            "SceneDataset",
        ),
        "evaluation": (
            "evaluate",
            "predict",
            "sample_splits",
        ),
        "training_folder": ("TrainingFolder",),
        "metrics": (
            "accuracy_table",
            "condition_table",
            "relational_accuracy",
        ),
        "precision": ("training_autocast",),
        "run": (
            "build_model",
            "make_trainer",
            "train",
        ),
        "trainer": ("RelViTTrainer",),
    },
)
