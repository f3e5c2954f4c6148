from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.video_io import open_video
from video_mask2former.video_io.image_source import find_images, natural_order


@pytest.fixture
def folder(tmp_path, numbered_frames):
    for index in (0, 1, 2, 9, 10, 11, 100):
        cv2.imwrite(str(tmp_path / f"frame{index}.png"), cv2.cvtColor(numbered_frames(index), cv2.COLOR_RGB2BGR))
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._frame3.png").write_bytes(b"left by a file manager")
    return tmp_path


def test_a_folder_is_read_in_natural_order(folder, numbered_frames, frame_number):
    reader = open_video(folder)
    assert reader.num_frames == 7
    assert reader.frame_rate is None
    images = list(reader)
    assert [frame_number(image) for image in images] == [0, 1, 2, 9, 10, 11, 100]
    assert np.array_equal(images[3], numbered_frames(9))


def test_globs_and_single_images(folder, frame_number):
    assert [frame_number(image) for image in open_video(str(folder / "frame1*.png"))] == [1, 10, 11, 100]
    single = open_video(folder / "frame9.png")
    assert single.num_frames == 1
    assert frame_number(next(iter(single))) == 9


def test_only_the_selected_images_are_read(folder, frame_number):
    (folder / "frame1.png").write_bytes(b"broken")
    reader = open_video(folder, every=2)
    assert [frame_number(image) for image in reader] == [0, 2, 10, 100]


def test_grey_and_16_bit_images_become_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.full((4, 6), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "1.png"), np.full((4, 6, 3), 77 * 256, np.uint16))
    assert [image.tolist() for image in open_video(tmp_path)] == [[[[77] * 3] * 6] * 4] * 2


def test_broken_images_are_named(folder):
    (folder / "frame1.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"frame1\.png is not an image"):
        list(open_video(folder))
    (folder / "frame1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"frame1\.png is not an image that can be decoded \(0 bytes\)"):
        list(open_video(folder))


def test_images_of_other_sizes_are_named(folder):
    cv2.imwrite(str(folder / "frame10.png"), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(ValueError, match=r"frame10\.png is 10x20"):
        list(open_video(folder))


def test_folders_without_images(tmp_path):
    with pytest.raises(ValueError, match="nothing at all"):
        open_video(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"only film\.mp4"):
        open_video(tmp_path)
    with pytest.raises(ValueError, match="no image"):
        find_images(tmp_path / "*.png")


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1), st.sampled_from(["", "a", "x-"]))
def test_natural_order_sorts_numbers_as_numbers(numbers, prefix):
    paths = [Path(f"{prefix}{number}.png") for number in numbers]
    assert sorted(paths, key=natural_order) == [Path(f"{prefix}{number}.png") for number in sorted(numbers)]
