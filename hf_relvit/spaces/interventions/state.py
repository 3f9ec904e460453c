"""All that a person has set up, as a value that fits into a URL; whatever comes from outside is checked here."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
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
_CURE = "open the page without what follows the question mark, or copy the link again"


@dataclass(frozen=True)
class PlacedObject:
    """An object: ids of its shape and color, (row, column) of its top-left patch."""

    shape: int
    color: int
    row: int
    column: int


@dataclass(frozen=True)
class Limits:
    """What a model allows.

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
    """A scene, a source scene, what is looked at, and an intervention.

    Attributes:
        model: name in the allow-list.
        scene: its 2 or 4 objects.
        source: the 2 objects that properties are taken from (RMTS: in place of the sample pair).
        selected: which object is being edited: those of the scene first, then those of the source.
        look_layer, look_head: of the attention overlay; head -1 is the mean of all.
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
    look_layer: int = 0
    look_head: int = -1
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
    def things(self) -> tuple[PlacedObject, ...]:
        """Of the scene, then of the source."""
        return self.scene + self.source

    def with_thing(self, index: int, thing: PlacedObject) -> State:
        """The state with another object at ``index`` of :attr:`things`."""
        things = [*self.things]
        things[index] = thing
        k = len(self.scene)
        return dataclasses.replace(self, scene=tuple(things[:k]), source=tuple(things[k:]))

    def name(self, index: int) -> str:
        """A to D in the scene, X and Y in the source."""
        return (NAMES[: len(self.scene)] + SOURCE_NAMES)[index]


def check(state: State, limits: Limits) -> State:
    """The state itself, if a model of these limits can show it.

    Raises:
        RelViTError: anything out of its range, objects that overlap or leave the image.
    """
    k = limits.objects
    if len(state.scene) != k or len(state.source) != 2:
        raise RelViTError(
            f"{len(state.scene)} and {len(state.source)} objects: expected {k} and 2; {_CURE}"
        )
    limit = {
        "selected": k + 2,
        "look_layer": limits.layers,
        "layer": limits.layers,
        "edited": k,
        "giver": 2,
        "pair": k // 2,
        "draw": MAX_DRAW + 1,
    }
    for name, stop in limit.items():
        if not _within(getattr(state, name), 0, stop):
            raise RelViTError(f"{name} {getattr(state, name)}: expected 0 to {stop - 1}; {_CURE}")
    if not _within(state.look_head, -1, limits.heads):
        raise RelViTError(
            f"head {state.look_head}: expected -1 (all) to {limits.heads - 1}; {_CURE}"
        )
    if not isinstance(state.alpha, int | float) or not 0 <= state.alpha <= MAX_ALPHA:
        raise RelViTError(f"alpha {state.alpha}: expected 0 to {MAX_ALPHA:g}; {_CURE}")
    for name, choices in (("action", ACTIONS), ("prop", PROPERTIES), ("method", METHODS)):
        if getattr(state, name) not in choices:
            raise RelViTError(
                f"{name} {getattr(state, name)[:40]!r}: expected one of {', '.join(choices)}; {_CURE}"
            )
    for things in (state.scene, state.source):
        for j, thing in enumerate(things):
            _check_thing(thing, limits)
            if any(overlap(thing, other, limits.geometry) for other in things[:j]):
                raise RelViTError(
                    f"two objects at row {thing.row}, column {thing.column} overlap; {_CURE}"
                )
    for thing, corner in zip(state.scene[2:], limits.fixed):
        if (thing.row, thing.column) != corner:
            raise RelViTError(
                f"a display object at row {thing.row}, column {thing.column}: expected {corner}; {_CURE}"
            )
    if limits.fixed and any(
        overlap(thing, other, limits.geometry) for thing in state.source for other in display(state)
    ):
        raise RelViTError(f"a source object covers the display pair; {_CURE}")
    return state


def _check_thing(thing: PlacedObject, limits: Limits) -> None:
    places = limits.geometry.grid - limits.geometry.object_patches + 1
    for name, stop in {
        "shape": limits.shapes,
        "color": limits.colors,
        "row": places,
        "column": places,
    }.items():
        if not _within(getattr(thing, name), 0, stop):
            raise RelViTError(f"{name} {getattr(thing, name)}: expected 0 to {stop - 1}; {_CURE}")


def _within(value: object, start: int, stop: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and start <= value < stop


def display(state: State) -> tuple[PlacedObject, ...]:
    """The display pair, empty in discrimination."""
    return state.scene[2:]


def overlap(a: PlacedObject, b: PlacedObject, geometry: SceneGeometry) -> bool:
    """Whether two objects share a patch."""
    return max(abs(a.row - b.row), abs(a.column - b.column)) < geometry.object_patches


_NUMBERS = {"select": "selected", "look": "look_layer", "head": "look_head", "at": "layer", "to": "edited",
            "from": "giver", "pair": "pair", "draw": "draw"}  # fmt: skip
_WORDS = {"model": "model", "do": "action", "what": "prop", "how": "method"}


def to_query(state: State) -> str:
    """The state as the part of a URL after the question mark."""
    values = {key: getattr(state, name) for key, name in {**_WORDS, **_NUMBERS}.items()}
    values["alpha"] = f"{state.alpha:g}"
    for name in ("scene", "source"):
        values[name] = "_".join(
            ".".join(map(str, dataclasses.astuple(thing))) for thing in getattr(state, name)
        )
    return urlencode(values)


def from_query(query: str, defaults: dict[str, State], limits: dict[str, Limits]) -> State:
    """What a URL says, checked; what it leaves out is as in the model's default. Unknown names are ignored.

    Args:
        query: what follows the question mark.
        defaults: by model, in the order of the allow-list: the first is taken if the URL names none.
        limits: by model.

    Raises:
        RelViTError: a model that is not served, numbers that are none, and all that :func:`check` refuses.
    """
    if len(query) > MAX_QUERY:
        raise RelViTError(
            f"a link of {len(query)} characters: expected at most {MAX_QUERY}; {_CURE}"
        )
    given = dict(parse_qsl(query))
    name = given.get("model", next(iter(defaults)))
    if name not in defaults:
        raise RelViTError(
            f"unknown model {name[:40]!r}: expected one of {', '.join(defaults)}; {_CURE}"
        )
    values: dict = {field: given[key] for key, field in _WORDS.items() if key in given}
    values |= {field: _number(key, given[key]) for key, field in _NUMBERS.items() if key in given}
    if "alpha" in given:
        if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,4})?", given["alpha"], re.ASCII):
            raise RelViTError(
                f"alpha {given['alpha'][:40]!r}: expected a number from 0 to {MAX_ALPHA:g}; {_CURE}"
            )
        values["alpha"] = float(given["alpha"])
    for key in ("scene", "source"):
        if key in given:
            values[key] = tuple(_thing(key, text) for text in given[key].split("_", 8))
    return check(dataclasses.replace(defaults[name], **values), limits[name])


def _thing(key: str, text: str) -> PlacedObject:
    parts = text.split(".", 8)
    if len(parts) != 4:
        raise RelViTError(
            f"{key} {text[:40]!r}: expected shape.color.row.column for each object; {_CURE}"
        )
    return PlacedObject(*(_number(key, part) for part in parts))


def _number(key: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", text, re.ASCII):
        raise RelViTError(f"{key} {text[:40]!r}: expected a whole number; {_CURE}")
    return int(text)
