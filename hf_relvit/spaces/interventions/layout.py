"""The page's components and where they stand; their behavior is in ``view``."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault(
    "GRADIO_ANALYTICS_ENABLED", "False"
)  # before the import: nothing leaves the machine unasked

import gradio as gr

from hf_relvit.analysis.novel import METHODS
from hf_relvit.stimuli.objects import COLOR_NAMES, SHAPE_NAMES

from . import text
from .served import Served
from .state import ACTIONS, MAX_ALPHA
from .style import BOARD_JS

_INTRO = """# How do vision transformers see relations?
Ask a vision transformer whether two objects are the same, then reach into its layers: change one property of one
object *inside the model* and watch the answer."""
_FOOT = """Probabilities are the model's own. One scene is an anecdote: read the controls and the second
curve. After Lepori et al., *Beyond the Doors of Perception* (NeurIPS 2024, arXiv 2406.15955)."""
KNOBS = (
    "attention_layer",
    "attention_head",
    "action",
    "prop",
    "layer",
    "edited",
    "giver",
    "alpha",
    "pair",
    "method",
)
"""Components that hold the field of the state of the same name."""
PANELS = ("scene", "source", "decision", "stages", "overlay", "outcome", "curve", "often")
"""Components that show what ``page.panels`` draws."""


def lay_out(served: dict[str, Served]) -> dict[str, Any]:
    """Make all components inside the open ``gr.Blocks``; by name."""
    made: dict[str, Any] = {"query": gr.Textbox(visible="hidden", elem_id="query")}
    _choose(made, served)
    limits = [
        item.limits for item in served.values()
    ]  # of the largest model; ``view`` then sets those of the chosen one
    layers, heads, objects = (
        max(getattr(item, name) for item in limits) for name in ("layers", "heads", "objects")
    )
    with gr.Row(elem_id="columns"):
        with gr.Column(min_width=330):
            _compose(made, objects)
        with gr.Column(min_width=330):
            _look(made, layers, heads)
        with gr.Column(min_width=330):
            _intervene(made, layers, objects)
    with gr.Row(elem_id="foot"):
        gr.Markdown(_FOOT)
        made["link"] = gr.Button(
            "Copy link to this state",
            size="sm",
            scale=0,
            min_width=190,
        )
    return made


def _choose(made: dict[str, Any], served: dict[str, Served]) -> None:
    """The menu of the models, the queue, and the examples of the model."""
    with gr.Row(elem_id="top"):
        gr.Markdown(_INTRO)
        menu = [(item.about["title"], name) for name, item in served.items()]
        made["model"] = gr.Dropdown(
            menu, value=next(iter(served)), label="Model", elem_id="model", scale=0, min_width=360
        )
    made["queue"] = gr.HTML(elem_id="queue")
    count = max(len(item.about["examples"]) for item in served.values())
    with gr.Row(elem_id="examples"):
        gr.Markdown("One click:", elem_id="examples-label")
        made["chips"] = [
            gr.Button(
                "",
                size="sm",
                min_width=80,
                scale=0,
            )
            for _ in range(count)
        ]


def _compose(made: dict[str, Any], objects: int) -> None:
    gr.Markdown(
        "## 1 · Compose\nClick an object to select it, a free place to move it there; or use the arrow keys."
    )
    with gr.Row(elem_id="boards", equal_height=True):
        for name, label in (("scene", "Scene"), ("source", "Source of properties")):
            with gr.Column(min_width=120):
                gr.Markdown(f"**{label}**")
                made[name] = gr.HTML(js_on_load=BOARD_JS, elem_id=f"{name}-board")
    made["said"] = gr.HTML(elem_id="said")
    made["selected"] = gr.Radio(
        _numbered(objects + 2), label="Selected object", elem_id="selected", elem_classes="compact"
    )
    for name, names in (("shape", SHAPE_NAMES), ("color", COLOR_NAMES)):
        made[name] = gr.Radio(
            [(n, i) for i, n in enumerate(names)],
            label=name.capitalize(),
            elem_id=f"{name}s",
            elem_classes="swatches",
        )
    with gr.Accordion("A picture of your own", open=False):
        types = [".png", ".jpg", ".jpeg", ".webp"]
        made["upload"] = gr.File(
            label="PNG, JPEG or WEBP, to look at only", file_types=types, height=120
        )
        made["own"] = gr.HTML()


def _look(made: dict[str, Any], layers: int, heads: int) -> None:
    gr.Markdown("## 2 · Look inside")
    made["decision"] = gr.HTML(elem_id="decision")
    gr.Markdown("**Where the tokens of A and B look, layer by layer**")
    made["stages"] = gr.HTML(elem_id="stages")
    with gr.Row():
        made["attention_layer"] = gr.Slider(
            0, layers - 1, step=1, label="Layer", elem_id="attention-layer", min_width=120
        )
        made["attention_head"] = gr.Dropdown(
            [("all", -1), *_numbered(heads)],
            label="Head",
            elem_id="attention-head",
            min_width=100,
            scale=0,
            filterable=False,
        )
    made["overlay"] = gr.HTML(elem_id="overlay")


def _intervene(made: dict[str, Any], layers: int, objects: int) -> None:
    gr.Markdown("## 3 · Intervene")
    actions = [(text.ACTION_NAMES[action], action) for action in ACTIONS]
    made["action"] = gr.Radio(
        actions, show_label=False, container=False, elem_id="action", elem_classes="compact"
    )
    with gr.Row(elem_id="options"):
        _operands(made, objects)
    with gr.Row(elem_id="values"):
        _novel_value(made)
    made["alpha"] = gr.Slider(
        0,
        MAX_ALPHA,
        step=0.1,
        label="How far (α)",
        elem_id="alpha",
    )
    made["layer"] = gr.Slider(
        0,
        layers - 1,
        step=1,
        label="After layer",
        elem_id="layer",
    )
    made["outcome"] = gr.HTML(elem_id="outcome")
    made["curve"] = gr.HTML(elem_id="curve")
    made["often"] = gr.HTML(elem_id="often")


def _operands(made: dict[str, Any], objects: int) -> None:
    """The property, the objects between which it is swapped, and the pair that is steered or injected."""
    options: dict[str, Any] = dict(elem_classes="compact", min_width=90)
    wide: dict[str, Any] = options | {"min_width": 130}
    made["prop"] = gr.Radio(
        ["color", "shape"],
        label="Property",
        elem_id="property",
        **wide,
    )
    made["edited"] = gr.Radio(_numbered(objects), label="of", elem_id="edited", **options)
    made["giver"] = gr.Radio([("X", 0), ("Y", 1)], label="taken from", elem_id="giver", **options)
    made["pair"] = gr.Radio(
        [("A, B", 0), ("C, D", 1)],
        label="Pair",
        elem_id="pair",
        **options,
    )


def _novel_value(made: dict[str, Any]) -> None:
    methods = [(text.METHOD_NAMES[method], method) for method in METHODS]
    made["method"] = gr.Dropdown(
        methods, label="The value is", elem_id="method", min_width=160, filterable=False
    )
    made["again"] = gr.Button(
        "Draw again",
        size="sm",
        min_width=90,
        scale=0,
        elem_id="again",
    )


def _numbered(count: int) -> list[tuple[str, int]]:
    return [(str(i), i) for i in range(count)]
