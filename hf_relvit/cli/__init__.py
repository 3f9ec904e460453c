"""The `relvit` command. Each command imports what it needs when it runs, so that `--help` is immediate."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from ..errors import RelViTError, RelViTWarning
from .analyze import analyze
from .data import data
from .demo import demo, space
from .diagnose import diagnose
from .hub import hub, push
from .models import evaluate, train
from .options import on_terminal
from .study import study
from .usage import usage_line

INTERRUPTED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data, name="data")
app.command()(train)
app.command()(evaluate)
app.add_typer(analyze, name="analyze")
app.command()(diagnose)
app.add_typer(study, name="study")
app.command()(push)
app.add_typer(hub, name="hub")
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


@app.command()
def env():
    """Versions and machine, for bug reports."""
    from importlib.metadata import version

    import torch  # what sees the device

    from ..provenance import provenance

    facts = provenance()
    others = ("accelerate", "huggingface_hub", "safetensors")
    facts["versions"] |= {name: version(name) for name in others}
    facts["accelerator"] = str(torch.accelerator.current_accelerator() or "none")
    for name, value in {**facts.pop("versions"), **facts}.items():
        typer.echo(f"{name:14} {value}")


_usual_warning = warnings.formatwarning


def _warning(message, category, filename, lineno, line=None) -> str:
    if issubclass(category, RelViTWarning):
        return f"relvit: {message}\n"
    return _usual_warning(message, category, filename, lineno, line)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input is one line and exit code 2, Ctrl-C is 130."""
    warnings.formatwarning = _warning
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
            "relvit: interrupted; what is finished is kept, run the same command to go on",
            file=sys.stderr,
        )
    sys.exit(code or 0)
