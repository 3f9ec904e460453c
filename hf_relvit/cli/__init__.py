"""The `relvit` command. Each command imports its needs when it runs, so that `--help` is immediate."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from ..allocator import keep_freed_memory
from ..errors import RelViTError, RelViTWarning
from ..progress import on_terminal, silence
from .analyze import analyze
from .data import data
from .demo import demo, space
from .diagnose import diagnose
from .habits import Commands, show
from .hub import hub, push
from .measure import board, measure
from .models import evaluate, train
from .people import people
from .release import release
from .study import study
from .tour import tour
from .usage import usage_line

OTHER_PACKAGES = (
    *("accelerate", "huggingface_hub", "safetensors", "evaluate"),
    *("peft", "gradio", "mitsuba", "ray", "trackio"),  # extras
)
INTERRUPTED = 130  # what typer makes of Ctrl-C

app = Commands(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data, name="data")
app.command()(train)
app.command(numbers=True)(evaluate)
app.add_typer(analyze, name="analyze")
app.command(numbers=True)(diagnose)
app.command(numbers=True)(measure)
app.command(numbers=True)(board)
app.add_typer(people, name="people")
app.add_typer(study, name="study")
app.command()(tour)
app.command()(push)
app.add_typer(hub, name="hub")
app.command(numbers=True)(release)
app.command()(demo)
app.add_typer(space, name="space")


def _show_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _relvit(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """How do vision transformers see relations between objects?

    Start here: relvit study run quick --out runs/quick
    """


@app.command(numbers=True)
def env():
    """Versions, extras, accelerator and threads, for bug reports: no token, no path.

    Example: relvit env
    """
    from importlib.metadata import PackageNotFoundError, version

    import torch  # what sees the device

    from ..provenance import provenance

    facts = provenance()
    versions = facts.pop("versions")
    for name in OTHER_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    accelerator = _accelerator()
    device = torch.accelerator.current_accelerator(check_available=True)
    facts |= {"accelerator": accelerator, "device": str(device or "cpu")}
    facts["threads"] = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE"):
        facts[name] = os.environ.get(name, "not set")
    facts["HF_TOKEN"] = "set, not shown" if os.environ.get("HF_TOKEN") else "not set"
    show("env", {**versions, **facts})


def _accelerator() -> str:
    """Number and name of the accelerators that this torch can use."""
    import torch

    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return "none (CPU only)"
    count = torch.accelerator.device_count()
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return f"{count} x {name}"


_usual_warning = warnings.formatwarning


def _warning(message, category, filename, lineno, line=None) -> str:
    if issubclass(category, RelViTWarning):
        return f"relvit: {message}\n"
    return _usual_warning(message, category, filename, lineno, line)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input is one line and exit code 2, Ctrl-C is 130."""
    warnings.formatwarning = _warning
    silence(False)
    keep_freed_memory()
    os.environ["MPLBACKEND"] = "agg"  # a notebook names one that only its own environment has
    if not on_terminal():
        for library in ("HF_DATASETS", "HF_HUB"):
            os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")
    try:
        code = app(arguments, prog_name="relvit", standalone_mode=False)
    except RelViTError as error:
        print(f"relvit: {error}", file=sys.stderr)
        code = 2
    except typer.TyperException as error:
        if error.format_message():  # without one, typer has shown the help page
            print(f"relvit: {usage_line(error)}", file=sys.stderr)
        code = 2
    if code == INTERRUPTED:
        print(
            "relvit: interrupted; finished parts are kept, run the same command to go on",
            file=sys.stderr,
        )
    sys.exit(code or 0)
