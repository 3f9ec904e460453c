"""`relvit diagnose`: which stage of a model fails."""

from __future__ import annotations

import typer

from .analyze import check_names
from .bridge import options, receives
from .options import Out, Subject, on_terminal, subject


@receives("subject", subject)
@options("settings", "analysis.diagnosis:DiagnosisConfig")
def diagnose(subject: Subject, out: Out, settings):
    """Which stage fails, perceptual or relational, on what evidence, and which loss would the paper prescribe?

    Writes diagnosis.html, verdict.json, figures and tables.

    Example: relvit diagnose runs/quick/seed0/training/model --out runs/diagnosis
    """
    from ..analysis import diagnosis
    from ..report.diagnosis_page import diagnosis_text, write_diagnosis

    check_names(out, diagnosis.Diagnosis, "diagnosis.html")
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    found = diagnosis.diagnose(checkpoint, distribution, settings, progress=on_terminal())
    page = write_diagnosis(found, subject.checkpoint, out)
    typer.echo(f"{diagnosis_text(found)}\nreport: {page}")
