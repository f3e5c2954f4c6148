"""The page that shows a video with its tracks: what is in it, and what a browser makes of it."""

from __future__ import annotations

import base64
import json
import re
from fractions import Fraction

import numpy as np
import pytest
from browser import browser_page, fits, painted

from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.viewer import SHORT_SIDE, ViewerPage
from video_mask2former.results import read_tracks
from video_mask2former.rle import encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.video_io import VideoWriter, open_video


@pytest.fixture
def result(colour_model, painter, busy_scene, tmp_path):
    with VideoWriter(tmp_path / "in.mp4", 25) as writer:
        for frame in painter(busy_scene):
            writer.write(frame)
    found = VideoPredictor(colour_model, InferenceSettings(short_side=48)).predict(tmp_path / "in.mp4")
    found.save(tmp_path / "out")
    return found


def test_the_page_holds_video_and_tracks(result, tmp_path) -> None:
    text = (tmp_path / "out" / "viewer.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=|https?://|@import", text), "the page must not need a network"
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    (tmp_path / "tracks.json").write_text(json.dumps(data["tracks"]))
    assert read_tracks(tmp_path / "tracks.json").tracks == result.tracks
    assert data["frames"] == list(range(24)) and data["frame_rate"] == 25
    movie = base64.b64decode(data["video"].removeprefix("data:video/mp4;base64,"))
    (tmp_path / "movie.mp4").write_bytes(movie)
    with open_video(tmp_path / "movie.mp4") as inside, open_video(tmp_path / "in.mp4") as original:
        assert inside.num_frames == 24 and min(inside.size) <= SHORT_SIDE
        for mine, theirs in zip(inside, original, strict=True):
            assert np.abs(mine.astype(int) - theirs).mean() < 12


def test_a_browser_shows_steps_and_selects(result, tmp_path) -> None:
    with browser_page(tmp_path / "out" / "viewer.html") as page:
        shown = lambda: int(page.get_attribute("#masks", "data-shown"))  # noqa: E731
        here = lambda: int(page.get_attribute("#masks", "data-position"))  # noqa: E731
        assert (here(), shown()) == (0, len(result.at_frame(0)))
        # what is painted are the masks
        opacity = np.array(painted(page))[:, 3].reshape(result.size)
        np.testing.assert_array_equal(opacity > 0, result.at_frame(0).masks().any(axis=0))
        page.keyboard.press("End")
        assert (here(), shown()) == (23, len(result.at_frame(23)))
        page.keyboard.press("ArrowLeft")
        assert here() == 22
        page.fill("#frame", "5")
        assert here() == 5
        page.click("#tracks .track:first-child .line", position={"x": 1, "y": 5})
        assert here() == 0
        page.click("#tracks .track:first-child button")
        assert shown() == len(result.at_frame(0)) - (0 in result[0].segmentations)
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "selected.json")
        assert read_tracks(tmp_path / "selected.json").tracks == result[1:].tracks
        page.click("#none")
        assert shown() == 0
        page.click("#all")
        assert shown() == len(result.at_frame(0))
        page.click("#classes button:first-child")
        name = page.inner_text("#classes button:first-child")
        assert shown() == sum(result.class_name(track) != name for track in result.tracks if 0 in track.segmentations)
        page.fill("#score", "1")
        assert shown() == 0
        assert fits(page), "it must fit a phone"
        page.wait_for_function("document.getElementById('video').readyState >= 1")


def test_stuff_is_drawn_lightly_under_things(tmp_path) -> None:
    masks = np.zeros((2, 20, 20), bool)
    masks[0, 5:9, 5:9] = True
    masks[1] = True
    tracks = tuple(Track(number + 1, number, 1.0, {0: rle}) for number, rle in enumerate(encode_masks(masks)))
    with ViewerPage(tmp_path / "viewer.html", "a & b", Fraction(10), stuff_labels=(1,)) as viewer:
        viewer.add(np.full((20, 20, 3), 90, np.uint8), 0)
        viewer.write(VideoInstances(tracks, 1, (20, 20)))
    with browser_page(tmp_path / "viewer.html") as page:
        thing, stuff = (np.array(painted(page)).reshape(20, 20, 4)[place, place, 3] for place in (6, 15))
        assert 0 < stuff < 0.6 * thing
        assert page.title() == "a & b"
