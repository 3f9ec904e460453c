"""All that a person has set up, as a value that fits into a URL; whatever comes from outside is checked here."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import parse_qsl, urlencode

from hf_relvit.analysis.novel import METHODS
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import SceneGeometry
from hf_relvit.stimuli.counterfactuals import PROPERTIES

ACTIONS = ("swap", "steer", "inject")
MAX_ALPHA = 4.0
MAX_DRAW = 999
MAX_QUERY = 1000
"""Characters; the longest link of ours has about 200."""
NAMES = "ABCD"
SOURCE_NAMES = "XY"
CURE = "open the page without the part after the question mark, or copy the link again"


@dataclass(frozen=True)
class PlacedObject:
    """An object: ids of its shape and color, (row, column) of its top-left patch."""

    shape: int
    color: int
    row: int
    column: int


@dataclass(frozen=True)
class Limits:
    """Choices that a model allows.

    Attributes:
        model: its name in the allow-list.
        task: "discrimination" (2 objects) or "rmts" (4, of which the last two stand where training had them).
        geometry: of its images.
        shapes, colors: how many there are to choose from.
        layers, heads: of the model.
    """

    model: str
    task: str
    geometry: SceneGeometry
    shapes: int
    colors: int
    layers: int
    heads: int

    @property
    def objects(self) -> int:
        return 2 if self.task == "discrimination" else 4

    @property
    def fixed(self) -> tuple[tuple[int, int], ...]:
        """Corners of the display pair of RMTS: always top left, as in training."""
        return () if self.task == "discrimination" else ((0, 0), (0, self.geometry.object_patches))


@dataclass(frozen=True)
class State:
    """A scene, a source scene, the view, and an intervention.

    Attributes:
        model: name in the allow-list.
        scene: its 2 or 4 objects.
        source: the 2 objects that properties are taken from (RMTS: in place of the sample pair).
        selected: which object is being edited: those of the scene first, then those of the source.
        attention_layer, attention_head: of the attention overlay; head -1 is the mean of all.
        action: one of ACTIONS.
        prop: "shape" or "color", for swap and inject.
        layer: block after which the intervention happens.
        edited, giver: object of the scene that is changed, object of the source that gives its property.
        alpha: how far to steer.
        pair: which pair of the scene is steered or injected: 0, in RMTS also 1, the display pair.
        method: of the novel vectors, one of ``analysis.novel.METHODS``.
        draw: seed of the novel vectors.
    """

    model: str
    scene: tuple[PlacedObject, ...]
    source: tuple[PlacedObject, ...]
    selected: int = 0
    attention_layer: int = 0
    attention_head: int = -1
    action: str = "swap"
    prop: str = "color"
    layer: int = 0
    edited: int = 0
    giver: int = 0
    alpha: float = 1.0
    pair: int = 0
    method: str = "added"
    draw: int = 0

    @property
    def placed_objects(self) -> tuple[PlacedObject, ...]:
        """Of the scene, then of the source."""
        return self.scene + self.source

    def with_object(self, index: int, placed: PlacedObject) -> State:
        """The state with another object at ``index`` of :attr:`placed_objects`."""
        objects = [*self.placed_objects]
        objects[index] = placed
        count = len(self.scene)
        return dataclasses.replace(
            self,
            scene=tuple(objects[:count]),
            source=tuple(objects[count:]),
        )

    def placed(self, index: int) -> PlacedObject:
        """The object at ``index`` of :attr:`placed_objects`."""
        return self.placed_objects[index]

    def name(self, index: int) -> str:
        """A to D in the scene, X and Y in the source."""
        return (NAMES[: len(self.scene)] + SOURCE_NAMES)[index]


def check(state: State, limits: Limits) -> State:
    """The state itself, if a model of these limits can show it.

    Raises:
        RelViTError: anything out of its range, objects that overlap or leave the image.
    """
    count = limits.objects
    if len(state.scene) != count or len(state.source) != 2:
        raise RelViTError(
            f"{len(state.scene)} and {len(state.source)} objects: expected {count} and 2; {CURE}"
        )
    stops = {
        "selected": count + 2,
        "attention_layer": limits.layers,
        "layer": limits.layers,
        "edited": count,
        "giver": 2,
        "pair": count // 2,
        "draw": MAX_DRAW + 1,
    }
    _check_ranges(state, stops)
    head = state.attention_head
    if not _within(head, -1, limits.heads):
        raise RelViTError(f"head {head}: expected -1 (all) to {limits.heads - 1}; {CURE}")
    _check_alpha(state.alpha)
    _check_choices(state)
    _check_objects(state.scene, limits)
    _check_objects(state.source, limits)
    _check_display(state, limits)
    return state


def _check_alpha(alpha: Any) -> None:
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not number or not 0 <= alpha <= MAX_ALPHA:
        raise RelViTError(f"alpha {str(alpha)[:40]}: expected 0 to {MAX_ALPHA:g}; {CURE}")


_CHOICES = {"action": ACTIONS, "prop": PROPERTIES, "method": METHODS}


def _check_choices(state: State) -> None:
    for name, choices in _CHOICES.items():
        value = getattr(state, name)
        if value not in choices:
            raise RelViTError(
                f"{name} {str(value)[:40]!r}: expected one of {', '.join(choices)}; {CURE}"
            )


def _check_objects(objects: tuple[PlacedObject, ...], limits: Limits) -> None:
    places = limits.geometry.grid - limits.geometry.object_patches + 1
    stops = {
        "shape": limits.shapes,
        "color": limits.colors,
        "row": places,
        "column": places,
    }
    for number, placed in enumerate(objects):
        _check_ranges(placed, stops)
        earlier = objects[:number]
        if any(overlap(placed, other, limits.geometry) for other in earlier):
            raise RelViTError(
                f"two objects at row {placed.row}, column {placed.column} overlap; {CURE}"
            )


def _check_display(state: State, limits: Limits) -> None:
    """The display pair stands where training showed it, and no source object covers it."""
    shown = display(state)
    for placed, corner in zip(shown, limits.fixed):
        if (placed.row, placed.column) != corner:
            raise RelViTError(
                f"a display object at row {placed.row}, column {placed.column}: expected {corner}; {CURE}"
            )
    for pair in product(state.source, shown):
        if overlap(*pair, limits.geometry):
            raise RelViTError(f"a source object covers the display pair; {CURE}")


def _check_ranges(value: State | PlacedObject, stops: dict[str, int]) -> None:
    """Each named number must be a whole one from 0 to below its stop."""
    for name, stop in stops.items():
        number = getattr(value, name)
        if not _within(number, 0, stop):
            raise RelViTError(f"{name} {str(number)[:40]}: expected 0 to {stop - 1}; {CURE}")


def _within(value: Any, start: int, stop: int) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and start <= value < stop


def display(state: State) -> tuple[PlacedObject, ...]:
    """The display pair, empty in discrimination."""
    return state.scene[2:]


def overlap(one: PlacedObject, other: PlacedObject, geometry: SceneGeometry) -> bool:
    """Whether two objects share a patch."""
    down = abs(one.row - other.row)
    right = abs(one.column - other.column)
    return max(down, right) < geometry.object_patches


_NUMBERS = {
    "select": "selected",
    "look": "attention_layer",
    "head": "attention_head",
    "at": "layer",
    "to": "edited",
    "from": "giver",
    "pair": "pair",
    "draw": "draw",
}
"""Key of a link -> field of the state, for numbers; for words:"""
_WORDS = {
    "model": "model",
    "do": "action",
    "what": "prop",
    "how": "method",
}


def to_query(state: State) -> str:
    """The state as the part of a URL after the question mark."""
    values = {}
    for key, name in (_WORDS | _NUMBERS).items():
        values[key] = getattr(state, name)
    values["alpha"] = f"{state.alpha:g}"
    values["scene"] = _objects_text(state.scene)
    values["source"] = _objects_text(state.source)
    return urlencode(values)


def _objects_text(objects: tuple[PlacedObject, ...]) -> str:
    return "_".join(f"{it.shape}.{it.color}.{it.row}.{it.column}" for it in objects)


def from_query(query: str, defaults: dict[str, State], limits: dict[str, Limits]) -> State:
    """The state of a URL, checked; parameters left out are as in the model's default. Unknown names are ignored.

    Args:
        query: the part after the question mark.
        defaults: by model, in the order of the allow-list: the first is taken if the URL names none.
        limits: by model.

    Raises:
        RelViTError: a model that is not served, numbers that are none, and all that :func:`check` refuses.
    """
    given = _parameters(query)
    name = given.get("model", next(iter(defaults)))
    if name not in defaults:
        raise RelViTError(
            f"unknown model {name[:40]!r}: expected one of {', '.join(defaults)}; {CURE}"
        )
    state = dataclasses.replace(defaults[name], **_fields(given))
    return check(state, limits[name])


def _parameters(query: Any) -> dict[str, str]:
    """The parameters of a URL, if it is a text of a sane length."""
    if not isinstance(query, str):
        raise RelViTError(f"query {str(query)[:40]!r}: expected text; {CURE}")
    if len(query) > MAX_QUERY:
        raise RelViTError(
            f"a link of {len(query)} characters: expected at most {MAX_QUERY}; {CURE}"
        )
    return dict(parse_qsl(query))


def _fields(given: dict[str, str]) -> dict[str, Any]:
    """The fields of a state that the parameters of a URL name, with their values."""
    values: dict[str, Any] = {}
    for key, field in _WORDS.items():
        if key in given:
            values[field] = given[key]
    for key, field in _NUMBERS.items():
        if key in given:
            values[field] = _number(key, given[key])
    if "alpha" in given:
        values["alpha"] = _alpha(given["alpha"])
    for key in ("scene", "source"):
        if key in given:
            objects = given[key].split("_", 8)
            values[key] = tuple(_object(key, text) for text in objects)
    return values


def _object(key: str, text: str) -> PlacedObject:
    parts = text.split(".", 8)
    if len(parts) != 4:
        raise RelViTError(
            f"{key} {text[:40]!r}: expected shape.color.row.column for each object; {CURE}"
        )
    return PlacedObject(*[_number(key, part) for part in parts])


def _alpha(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,4})?", text, re.ASCII):
        raise RelViTError(f"alpha {text[:40]!r}: expected a number from 0 to {MAX_ALPHA:g}; {CURE}")
    return float(text)


def _number(key: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", text, re.ASCII):
        raise RelViTError(f"{key} {text[:40]!r}: expected a whole number; {CURE}")
    return int(text)
