"""The page on which people try a model: what it answers, and what a browser makes of it."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from browser import browser_page, fits

from video_mask2former.app import HEAD, AppModel, build_app
from video_mask2former.cli import main
from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.tasks import VideoInstanceTask
from video_mask2former.video_io import VideoWriter, open_video

SETTINGS = InferenceSettings(short_side=48)


@pytest.fixture
def movie(painter, busy_scene, tmp_path):
    path = tmp_path / "in.mp4"
    with VideoWriter(path, 25) as writer:
        for frame in painter(busy_scene):
            writer.write(frame)
    return path


def test_an_answer_is_what_predict_finds(colour_model, movie, tmp_path) -> None:
    counts: list[int] = []
    answer = AppModel(colour_model, SETTINGS, VideoInstanceTask(), tmp_path).answer(movie, 0.5, 10, counts.append)
    with open_video(movie, end=10) as reader:
        expected = VideoPredictor(colour_model, SETTINGS.updated(score_threshold=0.5)).predict_reader(reader)
    assert counts[-1] == 10
    assert {row[0]: row[-1] for row in answer.rows} == {t.track_id: len(t) for t in expected.tracks if len(t)}
    assert all(len(row) == len(HEAD) for row in answer.rows) and len(answer.rows) > 1
    assert answer.overlay.name == "overlay.mp4" and answer.viewer.startswith("<!doctype html>")
    assert {"tracks.json", "viewer.html"} <= {name.rpartition("/")[2] for name in answer.files}


def test_an_image_is_answered_by_a_picture(colour_model, painter, busy_scene, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), np.ascontiguousarray(next(iter(painter(busy_scene)))[..., ::-1]))
    answer = AppModel(colour_model, SETTINGS, VideoInstanceTask(), tmp_path).answer(tmp_path / "in.png", 0.5, 1)
    assert answer.overlay.name == "overlay.png" and answer.rows


def test_the_command_says_how_to_get_gradio(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 1
    assert "pip install 'video-mask2former[app]'" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_the_page_answers_and_its_viewer_works(colour_model, movie, tmp_path) -> None:
    gradio = pytest.importorskip("gradio")
    page = build_app(AppModel(colour_model, SETTINGS, VideoInstanceTask(), tmp_path))
    [answer] = [event.fn for event in page.fns.values() if event.api_name == "video"]
    done: list[tuple[int, int]] = []
    overlay, picture, rows, frame, files = answer(str(movie), 0.5, 4, done.append)
    assert done[-1] == (4, 4) and overlay["visible"] and not picture["visible"]
    with open_video(overlay["value"]) as reader:
        assert reader.num_frames == 4
    assert len(rows) > 1 and any(name.endswith("tracks.json") for name in files)
    with pytest.raises(gradio.Error, match="Choose a video or an image first"):
        answer(None, 0.5, 4, done.append)
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(gradio.Error, match="notes"):
        answer(str(tmp_path / "notes.txt"), 0.5, 4, done.append)
    (tmp_path / "page.html").write_text(f"<!doctype html><body>{frame}</body>", encoding="utf-8")
    with browser_page(tmp_path / "page.html") as browser:
        viewer = browser.frame_locator("iframe[title=viewer]")
        viewer.locator("#tracks .track").first.wait_for()
        assert int(viewer.locator("#masks").get_attribute("data-shown")) > 1
        assert fits(browser)
