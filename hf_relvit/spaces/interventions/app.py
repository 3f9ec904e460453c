"""What the Hub starts; on a machine of one's own, `relvit demo` starts the same page."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import hf_relvit.spaces.interventions as package
from hf_relvit.errors import RelViTError

MODELS = Path(package.__file__).parent / "models"
"""The allow-list: every folder here is a model of the menu."""


def check_gradio() -> None:
    """RelViTError unless gradio is installed; before a run is prepared for minutes."""
    if importlib.util.find_spec("gradio") is None:
        raise RelViTError("the demo needs gradio: install it with pip install 'hf_relvit[demo]'")


def start(
    folders: list[Path], *, host: str | None = None, port: int | None = None, block: bool = True
):
    """Serve models.

    Args:
        folders: each written by ``assets.build_assets``.
        host: address to listen at; this machine only by default.
        port: 7860 or the next free one by default.
        block: return only when interrupted.

    Returns:
        The running ``gr.Blocks``.

    Raises:
        RelViTError: no Gradio, no models, models that do not open, a port that is taken.
    """
    on_gpu = _zero_gpu()
    check_gradio()
    import gradio as gr

    # not relative: on the Hub this file runs as a program, beside the package
    from hf_relvit.spaces.interventions import picture, served, style, view

    if not folders:
        raise RelViTError(f"no models to serve in {MODELS}: name a run with relvit demo --run")
    items = {folder.name: served.open_served(folder) for folder in folders}
    if on_gpu is not None:
        for item in items.values():
            item.model.to("cuda")
    demo = view.build(items, *([] if on_gpu is None else [on_gpu])).queue(
        max_size=None, default_concurrency_limit=1
    )
    try:
        demo.launch(
            server_name=host,
            server_port=port,
            theme=gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=style.FONTS),
            css=style.css(),
            max_file_size=picture.MAX_BYTES,
            show_error=False,
            footer_links=["api"],
            prevent_thread_lock=not block,
            quiet=not block,
            ssr_mode=False,
            mcp_server=False,
        )
    except OSError as error:
        raise RelViTError(
            f"cannot listen at port {port}: {error}; choose another with --port"
        ) from error
    return demo


def models(folder: Path = MODELS) -> list[Path]:
    """The folders of models that are complete."""
    return sorted(path.parent for path in folder.glob("*/about.json"))


def _zero_gpu() -> Callable | None:
    """``spaces.GPU`` where the Hub lends graphics cards by the second. It must come before torch."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return None
    import spaces

    return spaces.GPU(duration=10)


if __name__ == "__main__":
    start(models())
