import json
from collections import Counter

import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.photorealistic.scenes import (
    DIFFERENCES,
    Light,
    PhotoScene,
    SceneOptions,
    Surface,
    pairings,
)

SURFACE = Surface(3, ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), 90.5, 7)
LIGHT = Light((1.0, 2.0, 8.0), 2.0, (9.0, 8.0, 7.0))
SCENE = PhotoScene(
    index=5,
    label=1,
    difference=0,
    level=1,
    objects=(3, 3),
    tints=(0, 0),
    positions=((-1.0, 0.0, 0.9), (2.0, 0.0, 0.9)),
    rotations=((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
    visible=(1.0, 0.75),
    camera=(0.0, -6.0, 0.9),
    target=(0.0, 0.0, 0.9),
    fov=38.0,
    wall=3.0,
    table_surface=SURFACE,
    wall_surface=SURFACE,
    lights=(LIGHT, LIGHT),
    ambient=(0.1, 0.2, 0.3),
    noise=11,
)


def test_a_scene_survives_its_row_as_json():
    assert PhotoScene.from_row(json.loads(json.dumps(SCENE.row()))) == SCENE


def test_distance_and_rotation_difference():
    assert SCENE.distance == pytest.approx((37**0.5 + 40**0.5) / 2)
    assert SCENE.rotation_difference == pytest.approx(180)


def test_pairs_are_balanced():
    pairs = pairings(SceneOptions(n=1024), 16)
    assert len(pairs) == 512
    assert Counter(DIFFERENCES[pair.level] for pair in pairs) == {"object": 384, "color": 128}
    assert set(Counter(pair.kept[0] for pair in pairs).values()) == {32}
    for pair in pairs:
        if DIFFERENCES[pair.level] == "object":
            assert pair.kept[0] != pair.other[0]
            assert pair.kept[1] == pair.other[1] == 0
        else:
            assert pair.kept[0] == pair.other[0]
            assert 0 not in (pair.kept[1], pair.other[1])
            assert pair.kept[1] != pair.other[1]
    assert 0.4 < sum(pair.side for pair in pairs) / 512 < 0.6


def test_pairs_depend_on_the_seed_alone():
    assert pairings(SceneOptions(n=64), 16) == pairings(SceneOptions(n=64, min_visible=0.1), 16)
    assert pairings(SceneOptions(n=64), 16) != pairings(SceneOptions(n=64, seed=1), 16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 3}, "3 photorealistic scenes: expected an even number"),
        ({"seed": -1}, "seed -1: expected 0 to"),
        ({"color_share": 2}, "color_share 2"),
        ({"coverage": (0.3, 0.2)}, "the least coverage below the largest"),
    ],
)
def test_numbers_out_of_range_are_refused(options, words):
    with pytest.raises(RelViTError, match=words):
        SceneOptions(**options)
