"""The units of each scene that a probe judges: their tokens, labels and inputs.

1. A *unit* gets one label: a pair (its 2p tokens; same?), an object (its p tokens; which shape?), a token
   alone, or two tokens (of one object?).
2. ``units`` gives the places of its tokens among the scene's object tokens, ``(n, units, tokens)``, and the labels.
3. ``unit_inputs`` reads them from states ``(n, k * p, hidden)`` and puts them side by side: ``(n * units, tokens *
   hidden)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..errors import RelViTError
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import SPLITS

if TYPE_CHECKING:
    from jaxtyping import Float32, Int, Shaped

    from .probes import ProbeConfig


class Units(NamedTuple):
    """The units of each scene that are judged.

    Attributes:
        positions: among the scene's object tokens, int64 ``(n, units, tokens)``.
        labels: int64 ``(n, units)``.
    """

    positions: np.ndarray
    labels: np.ndarray


def units(scenes: SceneTable, config: ProbeConfig) -> Units:
    """Units of each scene that a probe of ``config.target`` judges."""
    n, objects, _ = scenes.patches().shape
    tokens = scenes.tokens_per_object
    if config.target == "judgement":
        relation = scenes.judged.astype(np.int64)
        judged = 2 * relation.shape[1]
        return _everywhere(n, judged, tokens, size=2 * tokens, labels=relation)
    if config.target == "same_object":
        return _token_pairs(scenes, config.seed)
    labels = _properties(scenes)[config.target]
    size = tokens
    if config.unit == "token":
        size = 1
        labels = labels.repeat(tokens, axis=1)
    return _everywhere(n, objects, tokens, size, labels)


def _everywhere(
    n: int,
    objects: int,
    tokens: int,
    size: int,
    labels: np.ndarray,
) -> Units:
    """Units of ``size`` neighbors, the same places in all ``n`` scenes."""
    positions = np.arange(objects * tokens)
    of_one_scene = positions.reshape(1, -1, size)
    of_all = np.tile(of_one_scene, (n, 1, 1))
    return Units(of_all, labels)


def _token_pairs(scenes: SceneTable, seed: int) -> Units:
    """Of each pair of objects: two tokens of the first, two of the second, and twice one of each."""
    scenes.geometry.check_equal_tokens("the target 'same_object'")
    tokens = scenes.tokens_per_object
    if tokens == 1:
        raise RelViTError(
            f"objects of geometry {scenes.geometry.name!r} are one token each: 'same_object' needs two, "
            "use a geometry with smaller patches, such as b16"
        )
    n, objects = scenes.shape.shape
    pairs = objects // 2
    split = SPLITS.index(scenes.split)
    rng = np.random.default_rng([seed, scenes.seed, split])
    drawn = rng.random((n, pairs, 4, tokens))
    order = np.argsort(drawn, axis=-1)
    two = order[..., :2]
    in_pair = np.array([[0, 0], [1, 1], [0, 1], [1, 0]])
    first = 2 * np.arange(pairs)
    object_of = in_pair + first[:, None, None]
    positions = object_of * tokens + two
    same = [1, 1, 0, 0]
    labels = np.tile(same, (n, pairs))
    return Units(positions.reshape(n, -1, 2), labels)


def _properties(scenes: SceneTable) -> dict[str, np.ndarray]:
    """Labels of the objects by target, int64 ``(n, k)``."""
    shape = scenes.shape.astype(np.int64)
    color = scenes.color.astype(np.int64)
    largest = int(np.iinfo(np.int16).max)
    both = shape * (largest + 1) + color
    return {"shape": shape, "color": color, "object": both}


def unit_inputs(
    states: Shaped[torch.Tensor, "scenes tokens hidden"],
    positions: Int[np.ndarray, "scenes units positions"],
) -> Float32[torch.Tensor, "inputs features"]:
    """``(n * units, tokens * hidden)`` float32."""
    n, count, _ = positions.shape
    width = states.shape[-1]
    places = torch.from_numpy(positions)
    rows = places.reshape(n, -1, 1)
    whole_rows = rows.expand(-1, -1, width)
    chosen = states.gather(1, whole_rows.to(states.device))
    inputs = chosen.float()
    return inputs.reshape(n * count, -1)
