"""`relvit diagnose`: which stage of a model fails."""

from __future__ import annotations

from .analyze import check_names
from .bridge import options, receives
from .habits import say, show
from .options import Out, Subject, subject


@receives("subject", subject)
@options("settings", "analysis.diagnosis:DiagnosisConfig")
def diagnose(subject: Subject, out: Out, settings):
    """Which stage fails, perceptual or relational, on what evidence, and which loss would the paper prescribe?

    Writes diagnosis.html, verdict.json, figures and tables.

    Example: relvit diagnose runs/quick/seed0/training/model --out runs/diagnosis
    """
    from dataclasses import asdict

    from ..analysis import diagnosis
    from ..report.diagnosis_page import diagnosis_text, write_diagnosis

    check_names(out, diagnosis.Diagnosis, "diagnosis.html")
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    found = diagnosis.diagnose(checkpoint, distribution, settings, progress=True)
    page = write_diagnosis(found, subject.checkpoint, out)
    verdict = {"verdict": asdict(found.verdict)}
    show("diagnosis", verdict, text=diagnosis_text(found))
    say(f"report: {page}")
