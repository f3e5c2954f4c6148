"""Video consistency: a case computed by hand, and the definition window by window."""

from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.metrics import LabelMap, VideoConsistencyEvaluator


def consistency(*pairs, lengths=(8, 16)) -> dict[str, float]:
    evaluator = VideoConsistencyEvaluator(lengths)
    for sample_id, (prediction, truth) in enumerate(pairs):
        evaluator.process(LabelMap(sample_id, prediction), LabelMap(sample_id, truth))
    return evaluator.evaluate()


def rows(*frames) -> np.ndarray:
    return np.array(frames)[:, None]


def test_by_hand() -> None:
    truth = rows([1, 1, 2], [1, 1, 2], [1, 1, 2], [1, 2, 2])
    prediction = rows([5, 1, 2], [5, 3, 2], [5, 3, 2], [4, 4, 4])
    # frames 0 and 1: pixels 0 and 2 of three stay; frames 1 and 2: all three; the last window does not count
    assert consistency((prediction, truth), lengths=(2,)) == pytest.approx({"VC2": (2 / 3 + 1) / 2})


def test_perfect_predictions_measure_one_and_short_videos_nothing() -> None:
    video = np.random.default_rng(0).integers(0, 2, (9, 3, 4))
    video[:, 0] = 1
    assert consistency((video, video)) == {"VC8": 1.0, "VC16": -1.0}


def reference(pairs, length: int) -> float:
    shares = []
    for prediction, truth in pairs:
        for start in range(len(truth) - length):
            window = slice(start, start + length)
            stays = (truth[window] == truth[start]).all(0)
            if stays.any():
                shares.append((prediction[window] == prediction[start]).all(0)[stays].mean())
    return float(np.mean(shares))


def test_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(2)
    pairs = []
    for num_frames in (20, 7, 31):
        changes = rng.random((2, num_frames, 5, 6)) < 0.05
        pairs.append(tuple(np.cumsum(changes, axis=1) % 3))
    expected = {f"VC{length}": reference(pairs, length) for length in (3, 8, 16)}
    assert consistency(*pairs, lengths=(3, 8, 16)) == pytest.approx(expected)
    assert 0 < expected["VC16"] < expected["VC3"] < 1


def test_parts_of_ranks_merge() -> None:
    rng = np.random.default_rng(3)
    videos = [rng.integers(0, 2, (2, 12, 4, 4)).cumsum(1) // 4 for _ in range(2)]
    parts = [VideoConsistencyEvaluator((3,)) for _ in videos]
    for sample_id, (part, video) in enumerate(zip(parts, videos, strict=True)):
        part.process(LabelMap(sample_id, video[0]), LabelMap(sample_id, video[1]))
    parts[0].merge([part.state() for part in parts])
    assert parts[0].evaluate() == consistency(*videos, lengths=(3,))
    with pytest.raises(ValueError, match="at least 2"):
        VideoConsistencyEvaluator((1,))
