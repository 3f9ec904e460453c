"""The entry point on the Hub; on a machine of one's own, `relvit demo` starts the same page."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hf_relvit.spaces.interventions as package
from hf_relvit.errors import RelViTError

RELEASED = Path(package.__file__).parents[3] / "released"
"""Runs, beside the package in a clone and in the Space; the backbones of adapters come from the Hub."""
BASE = "RELVIT_BASE"
"""Variable of the environment: folder of the adapters' backbone, to serve them without the Hub."""


def check_gradio() -> None:
    """RelViTError unless gradio is installed; before a run is prepared for minutes."""
    if importlib.util.find_spec("gradio") is None:
        raise RelViTError("the demo needs gradio: install it with pip install 'hf_relvit[demo]'")


def start(
    folders: list[Path],
    *,
    base: str | os.PathLike | None = None,
    host: str | None = None,
    port: int | None = None,
    block: bool = True,
):
    """Serve models.

    This process then has no token of the Hub any more, and asks its own address without a proxy.

    Args:
        folders: each written by ``assets.build_assets``. One that does not open is left out with a line of the
            terminal, such as an adapter whose backbone cannot be had; not if it is the only one.
        base: folder of the adapters' backbone; by default that of ``RELVIT_BASE``, else the Hub's.
        host: address to listen at; this machine only by default.
        port: 7860 or the next free one by default.
        block: return only when interrupted (or ended by SIGTERM); then all uploads are removed.

    Returns:
        The running ``gr.Blocks``.

    Raises:
        RelViTError: no Gradio, no models, models that do not open, a port that is taken, no way to the own address.
    """
    on_gpu = _zero_gpu()
    check_gradio()
    # not relative: on the Hub this file runs as a program, beside the package
    from hf_relvit.spaces.interventions import gate

    gate.forget_tokens()
    gate.reach_itself(host)

    if not folders:
        raise RelViTError(
            f"no models to serve in {RELEASED} (installed packages come without them): name a run with "
            "relvit demo --run, or start the demo from a clone of the repository"
        )
    items = _opened(folders, base or _base_of_environment())
    if on_gpu is not None:
        for item in items.values():
            item.model.to("cuda")
    if not block:
        return _launch(items, on_gpu, host, port)
    with _uploads(), _ended_by_signal():
        demo = _launch(items, on_gpu, host, port)
        demo.block_thread()
        demo.close(verbose=False)
    return demo


def _base_of_environment() -> str | None:
    return os.environ.get(BASE) or None


def _opened(folders: list[Path], base: str | os.PathLike | None) -> dict[str, Any]:
    """The models that open, by name."""
    from hf_relvit.spaces.interventions import served

    items = {}
    faults = []
    for folder in folders:
        try:
            items[folder.name] = served.open_served(folder, base=base)
        except RelViTError as error:
            faults.append(error)
    if not items:
        raise faults[0]
    for fault in faults:
        print(f"not served: {fault}", file=sys.stderr)
    return items


def _launch(items: dict[str, Any], on_gpu: Callable | None, host: str | None, port: int | None):
    from starlette.middleware import Middleware

    from hf_relvit.spaces.interventions import endpoints, gate, view

    demo = view.build(items) if on_gpu is None else view.build(items, on_gpu)
    demo.queue(max_size=gate.MAX_WAITING, default_concurrency_limit=1)
    demo._queue.pending_messages_per_session.max_size = gate.MAX_ANSWERS
    gated = Middleware(gate.Gate, waiting=lambda: view.waiting(demo), functions=lambda: demo.fns)
    # on the Hub all requests come from its proxy, which names the visitor
    if os.environ.get("SPACE_ID"):
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")
    options = _launch_options()
    try:
        demo.launch(
            server_name=host,
            server_port=port,
            app_kwargs={"middleware": [gated]},
            **options,
        )
    except OSError as error:
        raise RelViTError(
            f"cannot listen at port {port}: {error}; choose another with --port"
        ) from error
    except ValueError as error:  # "When localhost is not accessible ..."
        raise RelViTError(
            f"cannot reach the own address {host or 'localhost'}: {error}; set no_proxy to it"
        ) from error
    endpoints.speak_json(demo)
    return demo


def _launch_options() -> dict[str, Any]:
    """Looks and limits of the page, without the parts of Gradio that it does not need."""
    import gradio as gr

    from hf_relvit.spaces.interventions import gate, picture, style

    return dict(
        theme=style.theme(gr.themes),
        css=style.css(),
        max_file_size=picture.MAX_BYTES,
        show_error=False,
        footer_links=["api"],
        prevent_thread_lock=True,
        state_session_capacity=gate.MAX_SESSIONS,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=importlib.util.find_spec("mcp") is not None,
        pwa=False,
        share=False,
        run_history=False,
    )


@contextmanager
def _uploads() -> Iterator[None]:
    """A folder for uploads of visitors, removed at the end."""
    place = os.environ.get("GRADIO_TEMP_DIR")
    if place:
        Path(place).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="relvit-demo-", dir=place) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield
        finally:
            os.environ.pop("GRADIO_TEMP_DIR")
            if place:
                os.environ["GRADIO_TEMP_DIR"] = place


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """SIGTERM as Ctrl-C: the default would end the process before uploads are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def models(place: Path | None = None) -> list[Path]:
    """The allow-list: folders of models that are complete; the released ones by default."""
    return [file.parent for file in sorted((place or RELEASED).glob("*/about.json"))]


def _zero_gpu() -> Callable | None:
    """``spaces.GPU`` where the Hub lends graphics cards by the second. It must come before torch."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return None
    spaces = importlib.import_module("spaces")
    return spaces.GPU(duration=10)


if __name__ == "__main__":
    start(models())
