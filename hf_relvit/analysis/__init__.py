"""Measurements on a checkpoint: for each a config, a function, and a result with a table and a figure."""

from ..lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "activations": (
            "ObjectStates",
            "SceneCaptures",
            "Site",
            "capture",
            "forward_from",
            "capture_object_states",
            "patch",
            "capture_residuals",
        ),
        "align": ("AlignConfig", "Alignments", "PairCaptures"),
        "alignment": ("Alignment",),
        "attention": (
            "AttentionConfig",
            "AttentionStages",
            "attention_maps",
            "measure_attention",
            "save_viewer",
        ),
        "battery": (
            "Battery",
            "BatteryConfig",
            "measure_battery",
            "measure_pictures",
        ),
        "correlation": (
            "Correlation",
            "CorrelationConfig",
            "correlate",
            "disentanglement",
        ),
        "alignment_methods": ("fit_alignment",),
        "das_config": ("DASConfig",),
        "diagnosis": (
            "Diagnosis",
            "DiagnosisConfig",
            "diagnose",
        ),
        "interchange": (
            "PairResiduals",
            "capture_pair_residuals",
        ),
        "knockout": (
            "Knockout",
            "KnockoutConfig",
            "knock_out_heads",
        ),
        "novel": (
            "Novel",
            "NovelConfig",
            "inject_novel",
        ),
        "probes": (
            "ProbeConfig",
            "Probes",
            "fit_probes",
            "probe",
        ),
        "scores": ("score_alignment",),
        "similarity": (
            "Similarity",
            "SimilarityConfig",
            "measure_similarity",
            "object_similarity",
        ),
        "steering": (
            "Steering",
            "SteeringConfig",
            "steer",
        ),
        "validity": (
            "agreement",
            "principal_angles",
            "read_write_angles",
            "unmapped_pairs",
            "validity_table",
        ),
        "failing_stage": (
            "Criterion",
            "Verdict",
            "judge",
        ),
    },
)
