import numpy as np
import pytest

from hf_relvit.stimuli.photorealistic.room import draw_room, linear
from hf_relvit.stimuli.photorealistic.textures import FAMILIES


@pytest.mark.parametrize("full", [False, True])
def test_rooms_follow_their_seed_and_stay_in_their_ranges(full):
    rooms = [draw_room(np.random.default_rng(seed), full) for seed in range(200)]
    assert rooms[3] == draw_room(np.random.default_rng(3), full) != rooms[4]
    distances = [np.linalg.norm(np.subtract(room["camera"], room["target"])) for room in rooms]
    assert 5.4 <= min(distances) < 6 and 8.4 < max(distances) <= 9
    rotations = np.array([room["rotations"] for room in rooms])
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=-1), 1)
    assert np.any(rotations[..., 1:3] != 0) == full  # else about the vertical axis alone
    families = {room[name].family for room in rooms for name in ("table_surface", "wall_surface")}
    assert families == set(range(len(FAMILIES)))
    np.testing.assert_allclose([np.linalg.norm(room["direction"]) for room in rooms], 1)
    assert all(light.position[2] > 2 for room in rooms for light in room["lights"])


def test_light_makes_up_for_dark_surfaces():
    def albedo_and_light(room):
        colors = [room[name].colors for name in ("table_surface", "wall_surface")]
        return linear(np.array(colors)).mean(), np.sum(room["ambient"])

    albedo, light = np.array(
        [albedo_and_light(draw_room(np.random.default_rng(seed), False)) for seed in range(300)]
    ).T
    dark = albedo < np.median(albedo)
    assert light[dark].mean() > 1.2 * light[~dark].mean()
    assert (
        albedo[dark].mean() * light[dark].mean() < albedo[~dark].mean() * light[~dark].mean()
    )  # dark rooms look darker
