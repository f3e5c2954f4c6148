"""A page of pictures: the videos (or images) that went worst and best, ground truth beside prediction."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from video_mask2former.atomic import atomic_path
from video_mask2former.data.image_files import read_image
from video_mask2former.messages import printable
from video_mask2former.metrics.track_overlap import track_iou
from video_mask2former.structures import FrameInstances, VideoInstances
from video_mask2former.visualization import MaskAnnotator

FRAMES_PER_CASE = 4
FRAME_WIDTH = 360
_GREY = 96
_STYLE = """
body { font-family: sans-serif; margin: 2em; color: #222; }
h2 { border-bottom: 1px solid #ccc; } h3 { margin-bottom: .2em; }
img { max-width: 100%; } p { margin: .2em 0 .5em; color: #555; }
"""

KeyT = TypeVar("KeyT", int, str)
Annotate = Callable[[np.ndarray, FrameInstances, Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One video to show.

    Attributes:
        name: What it is called on the page.
        quality: How good the prediction is, in [0, 1].
        prediction: Its predicted tracks, those that are to be drawn.
        ground_truth: Its annotated tracks.
        frame_paths: Image of each frame; None draws on grey.
    """

    name: str
    quality: float
    prediction: VideoInstances
    ground_truth: VideoInstances
    frame_paths: tuple[Path, ...] | None


def choose_cases(qualities: Mapping[KeyT, float], num_cases: int) -> tuple[list[KeyT], list[KeyT]]:
    """Keys of the worst cases, worst first, and of the best, best first; none is in both, undefined ones in neither."""
    ranked = sorted((quality, key) for key, quality in qualities.items() if quality >= 0)
    worst = [key for _, key in ranked[:num_cases]]
    best = [key for _, key in ranked[num_cases:][::-1][:num_cases]]
    return worst, best


def write_page(
    path: str | os.PathLike[str], worst: Iterable[Case], best: Iterable[Case], class_names: Sequence[str]
) -> None:
    """Write one HTML file that holds its pictures. The cases are drawn one by one as they come."""
    annotate = MaskAnnotator().annotate
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="xmlcharrefreplace") as file:
        file.write('<!doctype html>\n<html><head><meta charset="utf-8"><title>Evaluation</title>')
        file.write(f"<style>{_STYLE}</style></head><body>\n")
        file.write("<p>Ground truth above, prediction below; a track has the colour of the object it fits best.</p>\n")
        for title, cases in (("Worst", worst), ("Best", best)):
            file.write(f"<h2>{title}</h2>\n")
            for case in cases:
                file.write(_case_html(case, class_names, annotate))
        file.write("</body></html>\n")


def _case_html(case: Case, class_names: Sequence[str], annotate: Annotate) -> str:
    picture = cv2.cvtColor(draw_case(case, class_names, annotate), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    data = base64.b64encode(encoded.tobytes()).decode("ascii")
    return (
        f"<h3>{html.escape(case.name)}: {case.quality:.3f}</h3>\n"
        f"<p>annotated: {html.escape(_listing(case.ground_truth, class_names, with_scores=False))}<br>\n"
        f"predicted: {html.escape(_listing(case.prediction, class_names, with_scores=True))}</p>\n"
        f'<img alt="" src="data:image/jpeg;base64,{data}">\n'
    )


def _listing(instances: VideoInstances, class_names: Sequence[str], *, with_scores: bool) -> str:
    parts = [
        printable(class_names[track.label])
        + (f" {track.score:.2f}" if with_scores else " (crowd)" if track.is_crowd else "")
        for track in sorted(instances.tracks, key=lambda track: -track.score)
    ]
    return ", ".join(parts) or "nothing"


def draw_case(case: Case, class_names: Sequence[str], annotate: Annotate) -> np.ndarray:
    """Some frames of a case side by side, ground truth above prediction, RGB uint8."""
    num_frames = case.ground_truth.num_frames
    frame_indices = np.unique(np.linspace(0, num_frames - 1, FRAMES_PER_CASE).round().astype(int)).tolist()
    prediction = with_matching_ids(case.prediction, case.ground_truth)
    ground_truth = replace(
        case.ground_truth,
        tracks=tuple(replace(track, track_id=index) for index, track in enumerate(case.ground_truth.tracks, start=1)),
    )
    columns = []
    for frame_index in frame_indices:
        frame = _frame(case, frame_index)
        pictures = [
            _fit(annotate(frame, instances.at_frame(frame_index), class_names))
            for instances in (ground_truth, prediction)
        ]
        columns.append(np.concatenate(pictures, axis=0))
    return np.concatenate(columns, axis=1)


def with_matching_ids(prediction: VideoInstances, ground_truth: VideoInstances) -> VideoInstances:
    """The predicted tracks, each with the id (counted from 1) of the object it fits best; new ids for the others."""
    iou = track_iou(prediction.tracks, ground_truth.tracks)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    ids = {row: column + 1 for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if iou[row, column] > 0}
    first_new = len(ground_truth) + 1
    tracks = tuple(
        replace(track, track_id=ids.get(index, first_new + index)) for index, track in enumerate(prediction.tracks)
    )
    return replace(prediction, tracks=tracks)


def _frame(case: Case, frame_index: int) -> np.ndarray:
    size = case.ground_truth.size
    if case.frame_paths is None:
        return np.full((*size, 3), _GREY, np.uint8)
    return read_image(case.frame_paths[frame_index], size)


def _fit(picture: np.ndarray) -> np.ndarray:
    """The picture at a common width, with a white border."""
    height = max(1, round(picture.shape[0] * FRAME_WIDTH / picture.shape[1]))
    small = cv2.resize(picture, (FRAME_WIDTH, height), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
