from __future__ import annotations

import pytest

from video_mask2former.data.evaluation_videos import EvaluationVideos


def test_videos_read_lazily_and_know_their_ground_truth(annotation_set, image_folder) -> None:
    videos = EvaluationVideos(annotation_set, image_folder)
    assert [video.video_id for video in videos] == [3, 5, 9] == [video.video_id for video in videos[:]]
    assert videos[-1].video_id == 9 and [video.video_id for video in videos[1:]] == [5, 9]
    with pytest.raises(IndexError):
        videos[3]
    video = videos[0]
    assert (len(video), video.size, videos.class_names) == (6, (24, 32), ("cat", "dog", "zebra"))
    frames = list(video)
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 6 and [frames[i][0, 0, 0] for i in (2, 3)] == [32, 33]
    assert video.ground_truth() == annotation_set.ground_truth(0)


def test_frames_are_not_read_ahead(annotation_set, image_folder) -> None:
    (image_folder / "3/001.png").unlink()
    frames = iter(EvaluationVideos(annotation_set, image_folder)[0])
    next(frames)
    with pytest.raises(FileNotFoundError):
        next(frames)
