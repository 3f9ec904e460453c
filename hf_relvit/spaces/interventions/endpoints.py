"""The demo for programs: four typed functions, for ``gradio_client`` and for agents that speak MCP.

Agents read their docstrings. Objects are JSON, such as
``{"shape": "star", "color": "pink", "row": 3, "column": 1}``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.objects import COLOR_NAMES, SHAPE_NAMES

from . import page
from .counts import counted
from .layout import gr
from .served import Served
from .state import CURE, PlacedObject, State, check, from_query, to_query
from .strangers import told

Json = dict[str, Any]
_NAMES = {"shape": SHAPE_NAMES, "color": COLOR_NAMES}


class Endpoints:
    """The functions of the demo for programs.

    Args:
        served: the allow-list of models; the first is the default.
        starts: the state that each model starts with: parameters that a call leaves out are as there.
        on_gpu: decorator of the functions that run a model.
    """

    def __init__(self, served: dict[str, Served], starts: dict[str, State], on_gpu: Callable):
        self.served = served
        self.starts = starts
        self.limits = {name: item.limits for name, item in served.items()}
        self.summary = on_gpu(lambda name, state: page.summary(served[name], state))
        self.decision = on_gpu(lambda name, state: page.decided(served[name], state))

    def offer(self) -> None:
        """Open the endpoints, inside the open ``gr.Blocks``."""
        for function in (self.scene, self.swap, self.push, self.score):
            gr.api(function, api_name=function.__name__, concurrency_id="model")
        gr.api(
            self.react,
            api_name="react",
            api_visibility="undocumented",
            concurrency_id="model",
        )

    def scene(self, objects: list[Json] | None = None, model: str = "") -> Json:
        """Compose a scene and ask a vision transformer whether its two objects are the same or different.

        Args:
            objects: 2 (rmts: 4), each {"shape": "star", "color": "pink", "row": 3, "column": 1}; default: an example.
            model: a name that the answer lists under "models"; the first of them by default.

        Rows and columns count patches from the top left; an object covers several and may not overlap another.

        Returns:
            The objects, the probability of "same", the right answer, a sentence, the names of shapes, colors and
            models, and the link of the page.
        """
        state = self._state(model, objects)
        said: Json = self.decision(state.model, state)
        return {
            **said,
            "objects": [_as_json(placed) for placed in state.scene],
            "shapes": list(SHAPE_NAMES),
            "colors": list(COLOR_NAMES),
            "models": {name: item.about["title"] for name, item in self.served.items()},
            "link": to_query(state),
        }

    def swap(
        self,
        property: str = "color",
        layer: int = 0,
        edited: int = 0,
        objects: list[Json] | None = None,
        source: list[Json] | None = None,
        model: str = "",
    ) -> Json:
        """Give one object of a scene the color or shape of another scene's object, inside the model, after one layer.

        Args:
            property: "color" or "shape".
            layer: block after which the residual stream is edited, from 0.
            edited: which object of the scene is changed, from 0.
            objects: as in "scene".
            source: two objects; the first gives its property, the second is a control.
            model: as in "scene".

        Returns:
            Probability of "same" before, after, and after each control; the answer to expect; sentences that say what
            happened in this scene and how often it happens over many.
        """
        given = {
            "action": "swap",
            "prop": property,
            "layer": layer,
            "edited": edited,
            "giver": 0,
        }
        return self._intervene(model, objects, source, given)

    def push(
        self,
        alpha: float = 1.0,
        layer: int = 0,
        pair: int = 0,
        objects: list[Json] | None = None,
        model: str = "",
    ) -> Json:
        """Steer a pair of objects along the direction that a linear probe reads as the other answer, after one layer.

        Args:
            alpha: how far, 0 to 4 times the probe's direction.
            layer: block after which the residual stream is edited, from 0.
            pair: 0, or 1 for the display pair of the task rmts.
            objects: as in "scene".
            model: as in "scene".

        Returns:
            As "swap".
        """
        given = {
            "action": "steer",
            "alpha": alpha,
            "layer": layer,
            "pair": pair,
        }
        return self._intervene(model, objects, None, given)

    def score(
        self,
        action: str = "swap",
        property: str = "color",
        alpha: float = 1.0,
        method: str = "added",
        model: str = "",
    ) -> Json:
        """How often an intervention works over many scenes, layer by layer, beside its controls.

        One scene proves little: read this before you trust an answer of "swap" or "push".

        Args:
            action: "swap", "steer" (along a probe, as `push` does) or "inject" (a value that no object has).
            property: "color" or "shape"; not for "steer".
            alpha: of "steer": how far.
            method: of "inject": "known", "added", "interpolated", "sampled" or "random".
            model: as in "scene".

        Returns:
            Rows with layer, condition ("edit" or a control), the answer before, share of scenes whose answer changes
            as it should, 95 % interval, number of scenes, and the share without doing anything ("floor").
        """
        given = {
            "action": action,
            "prop": property,
            "alpha": alpha,
            "method": method,
        }
        state = self._state(model, None, None, given)
        return {
            "model": state.model,
            "task": self.limits[state.model].task,
            "rows": counted(self.served[state.model].about, state),
        }

    def react(self, query: str = "") -> Json:
        """The page's sentences about the state of a link, for programs: the part after the link's question mark."""
        with told():
            state = from_query(query, self.starts, self.limits)
        return self.summary(state.model, state)

    def _intervene(
        self,
        model: str,
        objects: list[Json] | None,
        source: list[Json] | None,
        given: dict[str, Any],
    ) -> Json:
        state = self._state(model, objects, source, given)
        return {**self.summary(state.model, state), "link": to_query(state)}

    def _state(
        self,
        model: str,
        objects: list[Json] | None,
        source: list[Json] | None = None,
        given: Json | None = None,
    ) -> State:
        """The state that a call describes, checked; parameters left out are as the model starts.

        Raises:
            gr.Error: a value that does not fit, in one sentence.
        """
        with told():
            name = model or next(iter(self.served))
            if not isinstance(name, str) or name not in self.served:
                known = ", ".join(self.served)
                raise RelViTError(f"unknown model {str(name)[:40]!r}: expected one of {known}")
            fields: Json = dict(given or {})
            if objects is not None:
                fields["scene"] = _placed(objects)
            if source is not None:
                fields["source"] = _placed(source)
            state = dataclasses.replace(self.starts[name], **fields)
            try:
                return check(state, self.limits[name])
            except RelViTError as error:  # its cure is for links
                raise RelViTError(str(error).removesuffix(f"; {CURE}")) from error


def speak_json(demo: gr.Blocks) -> None:
    """Let the MCP server of a launched demo answer in JSON: Gradio writes the repr of Python's objects."""
    server: Any = demo.mcp_server_obj
    if server is None:
        return

    def as_json(data: list[Any], root_url: str) -> list[Any]:
        return [server.types.TextContent(type="text", text=json.dumps(each)) for each in data]

    server.postprocess_output_data = as_json


def _placed(objects: Any) -> tuple[PlacedObject, ...]:
    if not isinstance(objects, list) or len(objects) > 4:
        raise RelViTError(f"objects {str(objects)[:40]!r}: expected a list of at most 4")
    return tuple(_object(each) for each in objects)


def _object(given: Any) -> PlacedObject:
    """From JSON; shapes and colors by name."""
    keys = {"shape", "color", "row", "column"}
    if not isinstance(given, dict) or set(given) != keys:
        raise RelViTError(f"object {str(given)[:60]!r}: expected shape, color, row and column")
    values: dict[str, Any] = dict(given)
    for name, known in _NAMES.items():
        if values[name] not in known:
            raise RelViTError(
                f"{name} {str(values[name])[:40]!r}: expected one of {', '.join(known)}"
            )
        values[name] = known.index(values[name])
    return PlacedObject(**values)


def _as_json(placed: PlacedObject) -> Json:
    values = dataclasses.asdict(placed)
    named = {name: known[values[name]] for name, known in _NAMES.items()}
    return {**values, **named}
