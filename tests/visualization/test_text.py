from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.visualization.text import MAX_CACHED_TEXTS, TextRenderer


def test_text_is_drawn_where_asked():
    canvas = np.zeros((40, 120, 3), np.uint8)
    renderer = TextRenderer()
    renderer.draw(canvas, "abc", (10, 5), 20, (255, 0, 0))
    rows, columns = np.nonzero(canvas[..., 0])
    assert canvas[..., 1:].max() == 0
    assert canvas[..., 0].max() > 200
    assert rows.min() >= 5
    assert rows.max() < 5 + 26
    assert columns.min() >= 10
    assert columns.max() <= 10 + renderer.width("abc", 20)


@pytest.mark.parametrize("xy", [(-20, -10), (90, 25), (500, 500), (-500, 0)])
def test_text_is_cut_at_the_border(xy):
    canvas = np.zeros((40, 100, 3), np.uint8)
    larger = np.zeros((240, 300, 3), np.uint8)
    renderer = TextRenderer()
    renderer.draw(canvas, "abcdef", xy, 20, (255, 255, 255))
    if max(map(abs, xy)) < 100:
        renderer.draw(larger, "abcdef", (xy[0] + 100, xy[1] + 100), 20, (255, 255, 255))
        assert canvas.any()
    assert np.array_equal(canvas, larger[100:140, 100:200])


def test_patches_have_their_ground_around_the_letters():
    patch = TextRenderer().patch("x", 20, (0, 0, 0), (10, 200, 30))
    assert patch[0, 0].tolist() == patch[-1, -1].tolist() == [10, 200, 30]
    assert patch.min(axis=(0, 1)).tolist() < [10, 200, 30]


def test_memory_is_bounded():
    renderer = TextRenderer()
    for index in range(MAX_CACHED_TEXTS + 10):
        renderer.patch(str(index), 9, (0, 0, 0), (255, 255, 255))
    assert len(renderer._patches) <= MAX_CACHED_TEXTS
    assert len(renderer._shapes) <= MAX_CACHED_TEXTS


def test_fonts_are_checked(tmp_path):
    (tmp_path / "font.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match=r"font must be .*font\.ttf"):
        TextRenderer(tmp_path / "font.ttf")
