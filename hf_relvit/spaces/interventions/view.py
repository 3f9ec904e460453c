"""Which event changes what on the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any
from urllib.parse import urlencode

import numpy as np

from hf_relvit.errors import RelViTError

from . import page
from .layout import KNOBS, PANELS, gr, lay_out
from .moves import first_state, touch
from .picture import open_picture
from .served import Served
from .state import MAX_DRAW, State, check, from_query, to_query
from .style import KEYBOARD_JS, LINK_JS
from .text import changed

_EVENT: dict[str, Any] = dict(
    show_progress="hidden", api_visibility="undocumented", concurrency_id="model"
)
"""All that runs a model waits in one queue; nobody is turned away."""


def build(served: dict[str, Served], on_gpu: Callable = lambda function: function) -> gr.Blocks:
    """The page.

    Args:
        served: the allow-list of models, in the order of the menu.
        on_gpu: decorator of the functions that run a model; on ZeroGPU ``spaces.GPU``.
    """
    with gr.Blocks(
        title="Inside a vision transformer",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(600, 3600),
    ) as demo:
        made = lay_out(served)
        _Wiring(served, on_gpu, made).connect(demo)
    return demo


class _Wiring:
    """Handlers. Each reads the state from the link, changes it, and says what the page shows now.

    The link is all the state there is: nothing about a person is kept on the server.
    """

    def __init__(self, served: dict[str, Served], on_gpu: Callable, made: dict[str, Any]):
        self.served, self.made = served, made
        self.limits = {name: item.limits for name, item in served.items()}
        self.starts = {name: self.start(item) for name, item in served.items()}
        self.panels = on_gpu(lambda name, state: page.panels(served[name], state))
        self.summary = on_gpu(lambda name, state: page.summary(served[name], state))
        self.own = on_gpu(lambda name, pixels: page.own_picture(served[name], pixels))

    def start(self, item: Served) -> State:
        """The first example."""
        state = first_state(item.limits)
        examples = item.about["examples"]
        if not examples:
            return state
        return from_query(examples[0]["query"], {item.name: state}, {item.name: item.limits})

    def connect(self, demo: gr.Blocks) -> None:
        made, query = self.made, self.made["query"]
        every = [
            made[name]
            for name in (
                "query",
                "said",
                "model",
                "selected",
                "shape",
                "color",
                "again",
                *KNOBS,
                *PANELS,
            )
        ]
        every += made["chips"]
        knobs = [made[name] for name in KNOBS]
        demo.load(None, None, None, js=KEYBOARD_JS)
        demo.load(self.restored, None, every, **_EVENT)
        for knob in knobs:
            knob.input(self.turned, [query, *knobs], every, trigger_mode="always_last", **_EVENT)
        for name in ("shape", "color"):
            swatches = [query, made["shape"], made["color"]]
            made[name].input(self.recolored, swatches, every, trigger_mode="always_last", **_EVENT)
        made["selected"].input(self.selected, [query, made["selected"]], every, **_EVENT)
        made["scene"].click(self.on_scene, query, every, trigger_mode="multiple", **_EVENT)
        made["source"].click(self.on_source, query, every, trigger_mode="multiple", **_EVENT)
        made["again"].click(self.redrawn, query, every, **_EVENT)
        made["model"].input(self.switched, made["model"], every, **_EVENT)
        for i, chip in enumerate(made["chips"]):
            chip.click(lambda link, i=i: self.example(link, i), query, every, **_EVENT)
        made["upload"].change(self.uploaded, [query, made["upload"]], made["own"], **_EVENT)
        query.change(None, query, None, js=LINK_JS)
        made["link"].click(
            None, None, None, js="() => {navigator.clipboard?.writeText(location.href)}"
        )
        gr.api(self.react, api_name="react", concurrency_id="model")

    # what a person does

    def restored(self, request: gr.Request) -> dict:
        try:
            state = from_query(urlencode(dict(request.query_params)), self.starts, self.limits)
        except RelViTError as error:
            first = next(iter(self.starts.values()))
            message = f"This link does not work: {error}."
            gr.Warning(escape(message, quote=False), duration=None)  # Gradio shows messages as HTML
            return self.show(first, message, "fault", controls=True)
        return self.show(state, controls=True)

    def turned(self, link: str, *values: Any) -> dict:
        given = {name: _whole(value) for name, value in zip(KNOBS, values) if value is not None}
        return self.show(self.with_values(self.read(link), given))

    def recolored(self, link: str, shape: int, color: int) -> dict:
        before = self.read(link)
        thing = dataclasses.replace(before.things[before.selected], shape=shape, color=color)
        state = self.checked(before.with_thing(before.selected, thing))
        return self.show(state, changed(before, state))

    def selected(self, link: str, index: int) -> dict:
        before = self.read(link)
        state = self.with_values(before, {"selected": index})
        return self.show(state, changed(before, state), controls=True)

    def on_scene(self, link: str, event: gr.EventData) -> dict:
        return self.touched(link, "scene", event)

    def on_source(self, link: str, event: gr.EventData) -> dict:
        return self.touched(link, "source", event)

    def touched(self, link: str, board: str, event: gr.EventData) -> dict:
        before = self.read(link)
        try:
            state = touch(before, self.limits[before.model], board, dict(event._data or {}))
        except RelViTError as error:
            return self.show(before, f"{error}.", "fault")
        return self.show(state, changed(before, state), controls=True)

    def redrawn(self, link: str) -> dict:
        state = self.read(link)
        return self.show(
            dataclasses.replace(state, draw=(state.draw + 1) % (MAX_DRAW + 1)),
            "Another value was drawn.",
        )

    def switched(self, name: str) -> dict:
        return self.show(self.starts[name], controls=True)

    def example(self, link: str, index: int) -> dict:
        chosen = self.served[self.read(link).model].about["examples"][index]
        return self.show(self.read(chosen["query"]), f"{chosen['label']}.", controls=True)

    def uploaded(self, link: str, path: str | None) -> str:
        if path is None:
            return ""
        name = self.read(link).model
        try:
            return self.own(name, open_picture(path, self.limits[name].geometry.image_size))
        except RelViTError as error:
            return page.notice(f"{error}.", "fault")

    def react(self, query: str = "") -> dict:
        """What the model says about the state of a link (what follows its question mark), and after the edit."""
        state = self.read(query)
        return self.summary(state.model, state)

    # between state and page

    def read(self, link: str) -> State:
        with _told():
            return from_query(link or "", self.starts, self.limits)

    def checked(self, state: State) -> State:
        with _told():
            return check(state, self.limits[state.model])

    def with_values(self, state: State, given: dict[str, Any]) -> State:
        return self.checked(dataclasses.replace(state, **given))

    def show(
        self, state: State, message: str = "", kind: str = "note", *, controls: bool = False
    ) -> dict:
        """What to put where; with ``controls`` also where they stand, which is not sent back to who just moved one."""
        values: dict[str, Any] = dict(self.panels(state.model, state))
        values |= {"query": to_query(state), "said": page.notice(message, kind)}
        where: dict[str, dict[str, Any]] = {
            name: {"visible": on} for name, on in _visible(state).items()
        }
        if controls:
            where = _merged(where, self.positions(state))
        values |= {name: gr.update(**change) for name, change in where.items()}
        shown = {self.made[name]: value for name, value in values.items()}
        if controls:
            labels = [example["label"] for example in self.served[state.model].about["examples"]]
            for i, chip in enumerate(self.made["chips"]):
                shown[chip] = (
                    gr.update(value=labels[i]) if i < len(labels) else gr.update(visible=False)
                )
        return shown

    def positions(self, state: State) -> dict[str, dict[str, Any]]:
        limits, thing = self.limits[state.model], state.things[state.selected]
        where = {name: {"value": getattr(state, name)} for name in (*KNOBS, "model")}
        where["look_layer"]["maximum"] = where["layer"]["maximum"] = limits.layers - 1
        where["look_head"]["choices"] = [
            ("all", -1),
            *((str(head), head) for head in range(limits.heads)),
        ]
        where["edited"]["choices"] = [(state.name(i), i) for i in range(limits.objects)]
        letters = [(state.name(i), i) for i in range(len(state.things))]
        where["selected"] = {"choices": letters, "value": state.selected}
        return where | {"shape": {"value": thing.shape}, "color": {"value": thing.color}}


@contextmanager
def _told() -> Iterator[None]:
    """Bad input as a message on the page, which shows it as HTML."""
    try:
        yield
    except RelViTError as error:
        raise gr.Error(escape(f"{error}.", quote=False), print_exception=False) from error


def _visible(state: State) -> dict[str, bool]:
    """Which controls belong to the chosen action."""
    swap, inject = state.action == "swap", state.action == "inject"
    return {
        "prop": swap or inject,
        "edited": swap,
        "giver": swap,
        "pair": not swap and len(state.scene) == 4,
        "method": inject,
        "again": inject,
        "alpha": state.action == "steer",
    }


def _merged(one: dict[str, dict], other: dict[str, dict]) -> dict[str, dict]:
    return {name: one.get(name, {}) | other.get(name, {}) for name in {**one, **other}}


def _whole(value: Any) -> Any:
    """A slider's 2.0 as 2."""
    return (
        int(value)
        if isinstance(value, float | np.floating) and float(value).is_integer()
        else value
    )
