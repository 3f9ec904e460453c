"""Which event changes what on the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
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
from .style import KEYBOARD_JS, LINK_JS, MOVED_JS
from .text import changed

_EVENT: dict[str, Any] = dict(
    show_progress="hidden", api_visibility="undocumented", concurrency_id="model"
)
"""All that runs a model waits in one queue, of bounded length: see ``gate``."""


def build(served: dict[str, Served], on_gpu: Callable = lambda function: function) -> gr.Blocks:
    """The page.

    Args:
        served: the allow-list of models, in the order of the menu.
        on_gpu: decorator of the functions that run a model; on ZeroGPU ``spaces.GPU``.
    """
    with _Page(
        title="Inside a vision transformer",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(600, 3600),
    ) as demo:
        made = lay_out(served)
        _Wiring(served, on_gpu, made).connect(demo)
    return demo


class _Page(gr.Blocks):
    """Blocks whose inputs come from strangers."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **options: Any):
        """The values of a call as the components read them.

        Raises:
            gr.Error: values that no component of the page sends, in one sentence and without a traceback in the log.
        """
        try:
            with _told():
                _check_values(block_fn.inputs, inputs)
            return await super().preprocess_data(block_fn, inputs, *rest, **options)
        except Exception as error:
            if isinstance(error, gr.Error):
                told: Any = error
                told.print_exception = False
                raise
            raise gr.Error(_ODD_VALUES, print_exception=False) from error


_ODD_VALUES = (
    "These are no values of this page: expected values of its components, such as a link as text."
)
_FIELDS = {gr.Textbox: str, gr.File: dict, gr.Slider: int | float}
"""Types that components take as they are; all but these take text or numbers."""


def _check_values(components: Sequence[Any], values: list[Any]) -> None:
    """One value of the right type for each component: Gradio fails on others somewhere within.

    Raises:
        RelViTError: which value is none.
    """
    if len(values) != len(components):
        raise RelViTError(f"{len(values)} values: expected {len(components)}")
    for component, value in zip(components, values):
        kind = _FIELDS.get(type(component), str | int | float)
        if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
            continue
        name = getattr(component, "label", None) or "query"
        raise RelViTError(f"{name} is {str(value)[:40]!r}: expected {_KIND_NAMES[kind]}")


_KIND_NAMES = {
    str: "text",
    dict: "an uploaded file",
    int | float: "a number",
    str | int | float: "text or a number",
}


def waiting(demo: gr.Blocks) -> list[str]:
    """The addresses of those whose calls wait, one for each call."""
    queues = demo._queue.event_queue_per_concurrency_id.values()
    calls = [call for queue in queues for call in queue.queue]
    return [call.request.client.host for call in calls if call.request.client]


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
        chosen = [query, made["selected"]]
        made["selected"].input(self.selected, chosen, every, trigger_mode="always_last", **_EVENT)
        for board, touched in (("scene", self.on_scene), ("source", self.on_source)):
            event = made[board].click(touched, query, every, trigger_mode="multiple", **_EVENT)
            event.then(None, None, None, js=MOVED_JS.format(board=board))
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
        placed = dataclasses.replace(
            before.placed_objects[before.selected], shape=shape, color=color
        )
        state = self.checked(before.with_object(before.selected, placed))
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
        before = state = self.read(link)
        data = event._data
        moves = data.get("moves") if isinstance(data, dict) else None
        fault = ""
        for move in moves if isinstance(moves, list) else [data]:
            try:
                state = touch(state, self.limits[state.model], board, move)
                fault = ""
            except RelViTError as error:
                fault = f"{error}."
        if fault:
            return self.show(state, fault, "fault", controls=True)
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

    def read(self, link: str | None) -> State:
        with _told():
            if not isinstance(link, str | None):
                raise RelViTError(f"query {str(link)[:40]!r}: expected the text of a link")
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
        limits, placed = self.limits[state.model], state.placed_objects[state.selected]
        where = {name: {"value": getattr(state, name)} for name in (*KNOBS, "model")}
        where["attention_layer"]["maximum"] = where["layer"]["maximum"] = limits.layers - 1
        where["attention_head"]["choices"] = [
            ("all", -1),
            *((str(head), head) for head in range(limits.heads)),
        ]
        where["edited"]["choices"] = [(state.name(i), i) for i in range(limits.objects)]
        letters = [(state.name(i), i) for i in range(len(state.placed_objects))]
        where["selected"] = {"choices": letters, "value": state.selected}
        return where | {"shape": {"value": placed.shape}, "color": {"value": placed.color}}


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
