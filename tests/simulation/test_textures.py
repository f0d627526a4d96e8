"""Surfaces: compiled loops compute what numpy does, to the bit, because recorded pictures show them."""

import numpy as np
import pytest

from components.simulation._textures import (
    _BOX_TABLE,
    _box_zones,
    _clouds,
    _Noise,
    _surface,
    floor_texture,
    with_levels,
)


@pytest.mark.parametrize("style", range(4))
def test_a_surface_is_the_formula_to_the_bit(style: int) -> None:
    rng = np.random.default_rng(style)
    zones, table, colour = _box_zones(style), np.array(_BOX_TABLE), rng.random(3) * 255
    noise = _Noise(*_clouds(rng, 256), 6.0, rng.normal(size=(256, 256)), 2.0)
    coarse, middle, fine = (octave.astype(np.float64)[..., None] for octave in noise[:3])
    clouds = (coarse * 1.0 + middle * 0.6 + fine * 0.3) / 1.9
    shade, kept, red, green, blue, edge = (table[zones, index][..., None] for index in range(6))
    value = colour * shade + clouds * noise.clouds + noise.grain[..., None] * noise.grains
    value = (value * kept + np.concatenate([red, green, blue], axis=-1)) * edge
    expected = (np.clip(value, 0, 255) / 255).astype(np.float32)

    assert np.array_equal(_surface(zones, _BOX_TABLE, colour, noise), expected)


def test_each_level_is_the_mean_of_two_by_two_of_the_one_before() -> None:
    image = floor_texture(2, (0.4, 0.5, 0.6), np.random.default_rng(0))
    small = np.random.default_rng(1).random((4, 4, 3)).astype(np.float32)
    sizes, offsets, texels = with_levels([image, small])

    assert sizes.tolist() == [[512, 10], [4, 3]]
    assert len(texels) == sum(4**level for level in range(10)) + sum(4**level for level in range(3))
    for texture, (pixels, levels), starts in zip((image, small), sizes.tolist(), offsets.tolist(), strict=True):
        level = texture
        for index in range(levels):
            side = pixels >> index
            found = texels[starts[index] : starts[index] + side**2].reshape(side, side, 3)
            assert np.array_equal(found, level)
            level = (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]) / 4
