"""Events of the page, and the components that each changes."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator
from html import escape
from typing import Any
from urllib.parse import urlencode

import numpy as np

from hf_relvit.errors import RelViTError

from . import page
from .endpoints import Endpoints
from .gate import MAX_SESSIONS
from .layout import KNOBS, PANELS, gr, lay_out
from .moves import first_state, touch
from .picture import open_picture
from .served import Served
from .state import MAX_DRAW, State, check, from_query, to_query
from .strangers import Page, told
from .style import KEYBOARD_JS, LINK_JS, MOVED_JS, QUEUE_JS
from .text import changed

_NEWEST: dict[str, Any] = {"trigger_mode": "always_last"}
"""Of events that come faster than answers only the last one counts."""
_CURVES = 4
"""Visitors whose curves grow at a time, beside that queue, while nobody waits for an answer: see ``turns``."""
_CONTROLS = ("query", "said", "model", "selected", "shape", "color", "again")
_COPY_JS = "() => {navigator.clipboard?.writeText(location.href)}"


def build(served: dict[str, Served], on_gpu: Callable = lambda function: function) -> gr.Blocks:
    """The page.

    Args:
        served: the allow-list of models, in the order of the menu.
        on_gpu: decorator of the functions that run a model; on ZeroGPU ``spaces.GPU``.
    """
    with Page(
        title="Inside a vision transformer",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(600, 3600),
    ) as demo:
        made = lay_out(served)
        wiring = _Wiring(served, on_gpu, made)
        wiring.connect(demo)
        Endpoints(served, wiring.starts, on_gpu).offer()
    return demo


def waiting(demo: gr.Blocks) -> list[str]:
    """The addresses of those whose calls wait, one for each call."""
    queues = demo._queue.event_queue_per_concurrency_id.values()
    calls = [call for queue in queues for call in queue.queue]
    return [call.request.client.host for call in calls if call.request.client]


class _Wiring:
    """Handlers. Each reads the state from the link, changes it, and says what the page shows now.

    The link is all the state there is: of a visitor the server keeps only which curve was asked for last.
    """

    def __init__(self, served: dict[str, Served], on_gpu: Callable, made: dict[str, Any]):
        self.served = served
        self.made = made
        self.limits = {name: item.limits for name, item in served.items()}
        self.starts = {name: first_example(item) for name, item in served.items()}
        self.panels = on_gpu(lambda name, state: page.panels(served[name], state))
        self.own = on_gpu(lambda name, pixels: page.own_picture(served[name], pixels))
        self.latest: OrderedDict[str, str] = OrderedDict()
        names = (*_CONTROLS, *KNOBS, *PANELS)
        self.every = [made[name] for name in names] + made["chips"]

    def connect(self, demo: gr.Blocks) -> None:
        """Tie the events of the page to the handlers."""
        for script in (KEYBOARD_JS, QUEUE_JS):
            demo.load(None, None, None, js=script)
        self.on(demo.load, self.restored)
        self._connect_controls()
        self._connect_pictures()
        self._connect_link()

    def _connect_controls(self) -> None:
        made = self.made
        query = made["query"]
        selected = made["selected"]
        colored = [made["shape"], made["color"]]
        knobs = [made[name] for name in KNOBS]
        for knob in knobs:
            self.on(knob.input, self.turned, query, *knobs, **_NEWEST)
        for swatch in colored:
            self.on(swatch.input, self.recolored, query, *colored, **_NEWEST)
        self.on(selected.input, self.selected, query, selected, **_NEWEST)
        self.on(made["again"].click, self.redrawn, query)
        self.on(made["model"].input, self.switched, made["model"])
        for number, chip in enumerate(made["chips"]):
            self.on(chip.click, self.example(number), query)

    def _connect_pictures(self) -> None:
        made = self.made
        query = made["query"]
        upload = made["upload"]
        touched = {"scene": self.on_scene, "source": self.on_source}
        for board, handler in touched.items():
            clicked = self.on(made[board].click, handler, query, trigger_mode="multiple")
            script = MOVED_JS.format(board=board)
            clicked.then(None, None, None, js=script)
        self.on(upload.change, self.uploaded, query, upload, shown=[made["own"]])

    def _connect_link(self) -> None:
        query = self.made["query"]
        self.made["link"].click(None, None, None, js=_COPY_JS)
        query.change(None, query, None, js=LINK_JS)
        query.change(
            self.curve,
            query,
            self.made["curve"],
            show_progress="hidden",
            api_visibility="undocumented",
            concurrency_id="curve",
            concurrency_limit=_CURVES,
        )

    def on(
        self,
        listener: Callable,
        handler: Callable,
        *inputs: Any,
        shown: list[Any] | None = None,
        **options: Any,
    ) -> Any:
        """Let an event run the model, in its one queue of bounded length: see ``gate``."""
        return listener(
            handler,
            list(inputs),
            self.every if shown is None else shown,
            show_progress="minimal",
            show_progress_on=self.made["queue"],
            api_visibility="undocumented",
            concurrency_id="model",
            **options,
        )

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
        given = {}
        for name, value in zip(KNOBS, values):
            if value is not None:
                given[name] = _whole(value)
        before = self.read(link)
        return self.show(self.with_values(before, given))

    def recolored(self, link: str, shape: int, color: int) -> dict:
        before = self.read(link)
        index = before.selected
        chosen = before.placed(index)
        placed = dataclasses.replace(chosen, shape=shape, color=color)
        after = before.with_object(index, placed)
        state = self.checked(after)
        return self.show(state, changed(before, state))

    def selected(self, link: str, index: int) -> dict:
        before = self.read(link)
        state = self.with_values(before, {"selected": index})
        return self.show(state, changed(before, state), controls=True)

    def on_scene(self, link: str, event: gr.EventData) -> dict:
        return self.touched(link, "scene", event._data)

    def on_source(self, link: str, event: gr.EventData) -> dict:
        return self.touched(link, "source", event._data)

    def touched(self, link: str, board: str, data: Any) -> dict:
        """One move, or several that were made while an answer was under way."""
        before = self.read(link)
        state = before
        moves = data.get("moves") if isinstance(data, dict) else None
        fault = ""
        for move in moves if isinstance(moves, list) else [data]:
            fault = ""
            try:
                state = touch(
                    state,
                    self.limits[state.model],
                    board,
                    move,
                )
            except RelViTError as error:
                fault = f"{error}."
        if fault:
            return self.show(state, fault, "fault", controls=True)
        return self.show(state, changed(before, state), controls=True)

    def redrawn(self, link: str) -> dict:
        state = self.read(link)
        draw = (state.draw + 1) % (MAX_DRAW + 1)
        return self.show(dataclasses.replace(state, draw=draw), "Another value was drawn.")

    def switched(self, name: str) -> dict:
        return self.show(self.starts[name], controls=True)

    def example(self, number: int) -> Callable[[str], dict]:
        """The button of an example."""

        def show_example(link: str) -> dict:
            name = self.read(link).model
            chosen = self.served[name].about["examples"][number]
            state = self.read(chosen["query"])
            return self.show(state, f"{chosen['label']}.", controls=True)

        return show_example

    def uploaded(self, link: str, path: str | None) -> str:
        if path is None:
            return ""
        name = self.read(link).model
        side = self.limits[name].geometry.image_size
        try:
            picture = open_picture(path, side)
            return self.own(name, picture)
        except RelViTError as error:
            return page.notice(f"{error}.", "fault")

    def curve(self, link: str, request: gr.Request) -> Iterator[Any]:
        """The other layers of a large model, one by one, until the visitor asks for something else."""
        state = self.read(link)
        model = self.served[state.model]
        visitor = str(request.session_hash)
        self.asked(visitor, link)
        if model.at_once:
            yield gr.skip()
            return
        for panel in page.growing_curve(model, state):
            if self.latest.get(visitor) != link:
                return
            yield panel

    def asked(self, visitor: str, link: str) -> None:
        """Remember the wish of a visitor; of all visitors the last ones are remembered."""
        latest = self.latest
        latest[visitor] = link
        latest.move_to_end(visitor)
        if len(latest) > MAX_SESSIONS:
            latest.popitem(last=False)

    # between state and page

    def read(self, link: str | None) -> State:
        with told():
            if not isinstance(link, str | None):
                raise RelViTError(f"query {str(link)[:40]!r}: expected the text of a link")
            return from_query(link or "", self.starts, self.limits)

    def checked(self, state: State) -> State:
        with told():
            return check(state, self.limits[state.model])

    def with_values(self, state: State, given: dict[str, Any]) -> State:
        return self.checked(dataclasses.replace(state, **given))

    def show(
        self, state: State, message: str = "", kind: str = "note", *, controls: bool = False
    ) -> dict:
        """Values of the components; with ``controls`` also their places, which are not sent to who just moved one."""
        made = self.made
        shown: dict[Any, Any] = {made["query"]: to_query(state)}
        shown[made["said"]] = page.notice(message, kind)
        for name, html in self.panels(state.model, state).items():
            shown[made[name]] = html
        positions = self.positions(state) if controls else {}
        for name, visible in _visible(state).items():
            positions.setdefault(name, {})["visible"] = visible
        for name, position in positions.items():
            shown[made[name]] = gr.update(**position)
        if controls:
            shown |= self.chips(state)
        return shown

    def positions(self, state: State) -> dict[str, dict[str, Any]]:
        """Values and choices of the controls."""
        limits = self.limits[state.model]
        placed = state.placed(state.selected)
        where: dict[str, dict[str, Any]] = {}
        for name in (*KNOBS, "model", "selected"):
            where[name] = {"value": getattr(state, name)}
        where["shape"] = {"value": placed.shape}
        where["color"] = {"value": placed.color}
        heads = [(str(head), head) for head in range(limits.heads)]
        letters = [(state.name(index), index) for index in range(len(state.placed_objects))]
        where["attention_layer"]["maximum"] = limits.layers - 1
        where["layer"]["maximum"] = limits.layers - 1
        where["attention_head"]["choices"] = [("all", -1), *heads]
        where["edited"]["choices"] = letters[: limits.objects]
        where["selected"]["choices"] = letters
        return where

    def chips(self, state: State) -> dict[Any, Any]:
        """The buttons of the examples of a model; those that it does not need are hidden."""
        buttons = self.made["chips"]
        shown = dict.fromkeys(buttons, gr.update(visible=False))
        for button, example in zip(buttons, self.served[state.model].about["examples"]):
            shown[button] = gr.update(value=example["label"], visible=True)
        return shown


def first_example(served: Served) -> State:
    """The state that a model starts with."""
    state = first_state(served.limits)
    examples = served.about["examples"]
    if not examples:
        return state
    return from_query(examples[0]["query"], {served.name: state}, {served.name: served.limits})


def _visible(state: State) -> dict[str, bool]:
    """Which controls belong to the chosen action."""
    swap = state.action == "swap"
    inject = state.action == "inject"
    return {
        "prop": swap or inject,
        "edited": swap,
        "giver": swap,
        "pair": not swap and len(state.scene) == 4,
        "method": inject,
        "again": inject,
        "alpha": state.action == "steer",
    }


def _whole(value: Any) -> Any:
    """A slider's 2.0 as 2."""
    number = isinstance(value, float | np.floating)
    return int(value) if number and float(value).is_integer() else value
