from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.data.evaluation_videos import EvaluationVideos


def test_videos_read_lazily_and_know_their_ground_truth(annotation_set, image_folder) -> None:
    videos = EvaluationVideos(annotation_set, image_folder)
    assert [video.video_id for video in videos] == [3, 5, 9] == [video.video_id for video in videos[:]]
    assert videos[-1].video_id == 9 and [video.index for video in videos[1:]] == [1, 2]
    with pytest.raises(IndexError):
        videos[3]
    video = videos[0]
    assert (video.num_frames, video.size, video.class_names) == (6, (24, 32), ("cat", "dog", "zebra"))
    assert video.read(2, 4)[:, 0, 0, 0].tolist() == [32, 33]
    assert video.read().shape == (6, 3, 24, 32)
    np.testing.assert_array_equal(np.stack(list(video.frames())), video.read().permute(0, 2, 3, 1).numpy())
    assert video.ground_truth() == annotation_set.ground_truth(0)


def test_frames_are_not_read_ahead(annotation_set, image_folder) -> None:
    (image_folder / "3/001.png").unlink()
    frames = EvaluationVideos(annotation_set, image_folder)[0].frames()
    next(frames)
    with pytest.raises(FileNotFoundError):
        next(frames)
