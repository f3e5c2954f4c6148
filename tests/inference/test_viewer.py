"""The page that shows a video with its tracks: what is in it, and what a browser makes of it."""

from __future__ import annotations

import base64
import json
import re
import shutil

import numpy as np
import pytest

from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.viewer import SHORT_SIDE
from video_mask2former.results import read_tracks
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
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    api = pytest.importorskip("playwright.sync_api")
    if chromium is None:
        pytest.skip("needs chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800}, accept_downloads=True)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "out" / "viewer.html").as_uri())
        shown = lambda: int(page.get_attribute("#masks", "data-shown"))  # noqa: E731
        here = lambda: int(page.get_attribute("#masks", "data-position"))  # noqa: E731
        assert (here(), shown()) == (0, len(result.at_frame(0)))
        # what is painted are the masks
        script = (
            "() => { document.getElementById('names').click(); const c = document.getElementById('masks'); "
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; "
            "return Array.from({length: d.length / 4}, (_, i) => d[4 * i + 3] > 0); }"
        )
        painted = np.array(page.evaluate(script)).reshape(result.size)
        np.testing.assert_array_equal(painted, result.at_frame(0).masks().any(axis=0))
        page.keyboard.press("End")
        assert (here(), shown()) == (23, len(result.at_frame(23)))
        page.keyboard.press("ArrowLeft")
        assert here() == 22
        page.keyboard.press("Home")
        page.click("#tracks .track:first-child button")
        assert shown() == len(result.at_frame(0)) - (0 in result[0].segmentations)
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "selected.json")
        assert read_tracks(tmp_path / "selected.json").tracks == result[1:].tracks
        page.fill("#score", "1")
        assert shown() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it must fit a phone"
        assert page.evaluate("document.getElementById('video').readyState") >= 1
        browser.close()
        assert errors == []
