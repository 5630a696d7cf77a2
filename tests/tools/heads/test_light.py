"""Light on scenes with a closed-form answer."""

import numpy as np
import pytest

from tests.tools.heads.plain_scenes import grey_quad
from tools.heads import latent
from tools.heads.baking import KEY_MAP, bake_key, bake_sky, in_map, key_seen, shadow_matrix, sphere
from tools.heads.light import Light, describe_light, polar, radiance
from tools.heads.rasteriser import Strands
from tools.heads.scene import assemble


def white_sky(key_direction: np.ndarray) -> Light:
    """Radiance 1 from everywhere above and below, nearly."""
    white = np.ones(3)
    return Light(key_direction, white, white / 0.75, 0 * white, (), 1.0)


def no_strands() -> Strands:
    return Strands(np.zeros((0, 26, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))


def test_the_sphere_of_directions_is_even():
    directions = sphere(36)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(directions.T @ directions / 36, np.eye(3) / 3, atol=0.03)


def test_shadow_matrices_keep_distances():
    direction = polar(0.4, 0.5)
    matrix = shadow_matrix(direction, 100)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    places = in_map(matrix, points)
    scaled = places * [1.24 / 100, 1.24 / 100, 1]
    np.testing.assert_allclose(
        np.linalg.norm(scaled[1:] - scaled[:-1], axis=1), np.linalg.norm(np.diff(points, axis=0), axis=1), rtol=1e-5
    )
    assert in_map(matrix, direction)[2] < in_map(matrix, -direction)[2]  # depth grows away from the light


def test_a_quad_throws_its_shadow_on_a_plane():
    """A small square before a large one, lit from aside: the shadow is the small one, shifted along the light."""
    casters = assemble([grey_quad(0.4, 0.0), grey_quad(0.1, 0.2)]).casters(no_strands())
    direction = polar(0.5, 0.0)
    matrix, shadow_map = bake_key(white_sky(direction), casters)
    x, y = np.meshgrid(np.linspace(-0.35, 0.35, 60), np.linspace(-0.35, 0.35, 60))
    seen = key_seen(matrix, shadow_map, np.stack([x, y, 0.001 + 0 * x], -1).reshape(-1, 3)).reshape(60, 60)
    shift = 0.2 * direction[0] / direction[2]  # light from the right throws shadows to the left
    edge = np.maximum(np.abs(x + shift), np.abs(y)) - 0.1
    texel = 2 * 1.24 / KEY_MAP
    assert seen[edge < -texel].max() < 1e-3
    assert seen[edge > texel].min() > 0.999


def test_an_open_plane_gets_the_light_of_half_the_sky():
    """Under radiance 0.75 + 0.45 y, a surface facing +z gets 0.75 pi; the bake is its 36-point quadrature."""
    light = white_sky(polar(0, 0.5))
    mesh = assemble([grey_quad(0.3, 0.0)])
    sky = bake_sky(light, mesh.casters(no_strands()), mesh.normals)
    np.testing.assert_allclose(sky.shadowed, 1, rtol=0.06)
    np.testing.assert_allclose(sky.shadowed, sky.open, rtol=0.02)


def test_a_lid_takes_the_light_from_what_it_covers():
    covered = assemble([grey_quad(0.05, 0.0), grey_quad(0.5, 0.03)])
    sky = bake_sky(white_sky(polar(0, 0.5)), covered.casters(no_strands()), covered.normals)
    assert sky.shadowed[:4].max() < 0.1
    assert sky.open[:4].min() > 0.9


def test_strands_get_light_from_the_side_they_show():
    points = np.zeros((1, 26, 3), np.float32)
    points[0, :, 1] = np.linspace(0, 0.3, 26)
    strands = Strands(points, np.full(1, 1e-4, np.float32), np.ones(1, np.int32))  # label 1 throws no sky shadow
    mesh = assemble([grey_quad(0.01, -0.5)])
    sky = bake_sky(white_sky(polar(0, 0.5)), mesh.casters(strands), mesh.normals)
    # The mean of 4 sin(angle) over the sphere is pi; 0.55 is hair's share of it.
    np.testing.assert_allclose(sky.strands, 0.55 * np.pi, rtol=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_lights_of_data_are_lights(seed):
    light = describe_light(latent.split(latent.sample(seed, 0)).light)
    assert np.linalg.norm(light.key_direction) == pytest.approx(1)
    assert light.key_direction[2] > 0  # never from behind
    assert radiance(light, sphere(100)).min() > 0
