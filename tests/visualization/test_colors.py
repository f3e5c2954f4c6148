from __future__ import annotations

import colorsys
import itertools

import numpy as np

from video_mask2former.visualization.colors import text_color_on, track_color

FIXED_COLORS = [(213, 96, 124), (6, 194, 253), (190, 155, 8), (242, 71, 89)]


def test_colours_belong_to_ids():
    # fixed, so that pictures of different versions can be compared
    assert [track_color(index) for index in (0, 1, 2, 1000)] == FIXED_COLORS


def test_first_colours_are_far_apart():
    colors = np.asarray([track_color(index) for index in range(1, 13)], dtype=float)
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(colors, 2)]
    assert min(distances) > 40


def test_neighbours_differ_in_hue():
    hues = [colorsys.rgb_to_hsv(*(value / 255 for value in track_color(index)))[0] for index in range(2000)]
    steps = np.abs(np.diff(hues))
    assert np.minimum(steps, 1 - steps).min() > 0.2


def test_thousands_are_distinct_and_visible():
    colors = [track_color(index) for index in range(3000)]
    assert len(set(colors)) > 2950
    lumas = np.asarray(colors) @ (0.299, 0.587, 0.114)
    assert lumas.min() > 60
    assert lumas.max() < 225


def test_text_is_readable_on_every_colour():
    def luminance(color):
        linear = [(value / 255) ** 2.2 for value in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for index in range(500):
        ground = track_color(index)
        light, dark = sorted((luminance(ground), luminance(text_color_on(ground))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5
