from __future__ import annotations

import os
import struct

import cv2
import numpy as np
import pytest
import torch

from video_mask2former.data.image_files import missing_files, read_frames, read_image


def write_png(path, height: int, width: int) -> np.ndarray:
    picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    cv2.imwrite(str(path), picture[..., ::-1])
    return picture


def write_turned_jpeg(path, height: int, width: int) -> None:
    """A JPEG that says it should be shown turned by 90 degrees (EXIF orientation 6)."""
    data = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
    tiff = b"MM\x00\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])


def test_frames_are_rgb(tmp_path) -> None:
    pictures = [write_png(tmp_path / "ä 1.png", 6, 7)] * 2
    frames = read_frames([tmp_path / "ä 1.png"] * 2, (6, 7))
    assert frames.dtype == torch.uint8
    np.testing.assert_array_equal(frames.permute(0, 2, 3, 1).numpy(), pictures)


def test_orientation_is_followed_only_where_the_size_asks_for_it(tmp_path) -> None:
    path = tmp_path / "turned.jpg"
    write_turned_jpeg(path, 8, 12)
    assert read_image(path).shape[:2] == read_image(path, (8, 12)).shape[:2] == (8, 12)
    assert read_image(path, (12, 8)).shape[:2] == (12, 8)


def test_grey_images_become_rgb(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 5), 9, np.uint8))
    assert (read_image(tmp_path / "grey.png", (4, 5)) == 9).all()


def test_errors_name_the_file(tmp_path) -> None:
    path = tmp_path / "a.png"
    write_png(path, 6, 7)
    with pytest.raises(ValueError, match=r"a\.png must have the size of its annotations.* = 7 x 8, got 6 x 7"):
        read_image(path, (7, 8))
    with pytest.raises(FileNotFoundError, match=r"no image .*b\.png"):
        read_image(tmp_path / "b.png")
    for content in (b"", b"no image at all"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"a\.png is not an image that can be decoded \({len(content)} bytes\)"):
            read_image(path)


def test_missing_files_are_found_by_listing_folders(tmp_path, monkeypatch) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "top.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "top.jpg", "a/../top.jpg"]
    assert missing_files(tmp_path, names) == ["a/3.jpg", "b/1.jpg"]
    listed: list[object] = []
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or ["1.jpg"])
    missing_files(tmp_path, ["a/1.jpg"] * 5)
    assert listed == [tmp_path / "a"]
