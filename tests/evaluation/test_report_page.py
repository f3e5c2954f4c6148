"""The page of an evaluation: what is in it, and what a browser makes of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from browser import browser_page, fits, painted

from video_mask2former.evaluation.cases import Case
from video_mask2former.evaluation.report_page import MOST_FRAMES, meanings, write_report
from video_mask2former.metrics import Report
from video_mask2former.rle import encode_masks
from video_mask2former.structures import Track, VideoInstances

SIZE = (30, 40)
NAMES = ("cat", "dog & <wolf>", "sky")
MISSED, EXTRA = [209, 36, 47], [47, 129, 247]


def track(left, label=0, score=1.0, num_frames=3, top=5, width=10, **rest):
    masks = np.zeros((num_frames, *SIZE), bool)
    for index in range(num_frames):
        masks[index, top : top + 10, left + index : left + index + width] = True
    return Track(0, label, score, dict(enumerate(encode_masks(masks))), **rest)


def video(*tracks, num_frames=3):
    return VideoInstances(tracks, num_frames, SIZE)


@pytest.fixture
def frames(tmp_path):
    paths = tuple(tmp_path / f"{index}.png" for index in range(3))
    for index, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((*SIZE, 3), 60 + 50 * index, np.uint8))
    return paths


REPORT = Report(
    {"AP": 0.4567, "AP50": 1.0, "APs": -1.0},
    {"cat": 0.25, "dog & <wolf>": 0.75, "sky": -1.0},
    {"by_track_length": {"1-9": 0.5, "10+": -1.0}, "identity": {"HOTA": 0.125, "id_switches": 7}},
)


def write(path, worst, best=()):
    qualities = {case.name: case.quality for case in (*worst, *best)}
    facts = {"task": "instance", "annotations": "a/<b>.json"}
    write_report(path, "a & b", facts, REPORT, qualities, {"worst": worst, "best": best}, NAMES)
    return path.read_text(encoding="utf-8")


def data_of(text):
    found = re.findall(r'<script type="application/json" class="case"[^>]*>(.*?)</script>', text, re.DOTALL)
    return [json.loads(each) for each in found]


def test_the_page_holds_figures_and_cases_and_needs_no_network(tmp_path, frames) -> None:
    truth = video(track(0), track(20, is_crowd=True))
    worst = Case("<odd>", 0.25, video(track(1, score=0.5), track(25, top=18, score=0.4)), truth, frames)
    unseen = Case("unseen", 1.0, video(track(0)), video(track(0)), None)
    text = write(tmp_path / "page.html", [worst], [unseen])
    assert not re.search(r"(?:src|href)=|https?://|@import", text)
    assert "<odd>" not in text and "a/&lt;b&gt;.json" in text and "dog &amp; &lt;wolf&gt;" in text
    shown = re.sub(r"<[^>]+>", " ", text)
    for figure in ("0.457 AP", "1.000 AP50", "- APs", "id_switches 7", "1 classes are not annotated"):
        assert figure in re.sub(r"\s+", " ", shown), figure
    assert text.index("dog &amp;") < text.index(">cat<"), "the best class first"
    first, second = data_of(text)
    assert first["frames"] == [0, 1, 2] and first["video"].startswith("data:video/mp4;base64,")
    assert [each["id"] for each in first["prediction"]] == [1, 4]
    assert first["iou"] == {"1": pytest.approx(9 / 11)}
    assert second["video"] is None
    image = Case("image", 0.5, video(track(0, num_frames=1), num_frames=1), video(num_frames=1), frames[:1])
    assert data_of(write(tmp_path / "image.html", [image]))[0]["picture"].startswith("data:image/jpeg;base64,")


def test_the_two_figures_called_sq_are_told_apart() -> None:
    assert "mIoU of the classes" in meanings({"VPQ": 1.0, "STQ": 1.0, "AQ": 1.0, "SQ": 1.0})["SQ"]
    assert "of PQ" in meanings({"PQ": 1.0, "SQ": 1.0, "RQ": 1.0})["SQ"]
    assert meanings({"AP": 1.0, "AR10": 1.0}).keys() == {"AP", "AR1, AR10, AR100"}


def test_long_cases_are_thinned(tmp_path) -> None:
    long = video(track(0, num_frames=3), num_frames=2 * MOST_FRAMES + 1)
    [data] = data_of(write(tmp_path / "page.html", [Case("long", 0.5, long, replace(long), None)]))
    assert data["frames"] == list(range(0, 2 * MOST_FRAMES + 1, 3))
    assert list(data["truth"][0]["masks"]) == ["0"]


def test_a_browser_compares(tmp_path, frames) -> None:
    worst = Case("first", 0.25, video(track(2, score=0.5), track(25, label=1, top=18)), video(track(0)), frames)
    best = Case("second", 1.0, video(track(0, label=2)), video(track(0, label=2)), frames, stuff_labels=(2,))
    write(tmp_path / "page.html", [worst], [best])
    with browser_page(tmp_path / "page.html") as page:
        shown = lambda: page.evaluate("[stage.canvas.dataset.mode, +stage.canvas.dataset.shown, stage.position]")  # noqa: E731
        assert shown() == ["prediction", 2, 0]
        page.keyboard.press("g")
        page.keyboard.press("ArrowRight")
        assert shown() == ["ground truth", 1, 1]
        pixels = np.array(painted(page)).reshape(*SIZE, 4)
        inside = np.zeros(SIZE, bool)
        inside[5:15, 1:11] = True
        np.testing.assert_array_equal(pixels[..., 3] > 0, inside)
        page.click("text=errors")
        pixels = np.array(painted(page)).reshape(*SIZE, 4)
        # the object lies two pixels to the left of what was predicted of it
        for place, color in (((10, 1), MISSED), ((10, 12), EXTRA), ((20, 30), EXTRA)):
            assert np.abs(pixels[place][:3] - color).max() <= 2
        assert page.inner_text("#objects tbody").split() == [
            "cat",
            "cat",
            "0.50",
            "0.667",
            "nothing",
            *["dog", "&", "<wolf>", "1.00"],
        ]
        page.keyboard.press("p")
        page.click("#objects tbody tr:last-child button")
        assert shown()[1] == 1, "a track can be hidden"
        page.click("#list button:last-child")
        assert shown() == ["prediction", 1, 0]
        alpha = np.array(painted(page)).reshape(*SIZE, 4)[10, 5, 3]
        assert 0 < alpha < 80, "stuff is drawn lightly"
        assert page.evaluate("stage.video.readyState") >= 0 and fits(page)
        page.wait_for_function("stage.video.readyState >= 2")
