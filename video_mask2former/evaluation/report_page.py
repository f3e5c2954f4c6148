"""``report.html``: the figures of an evaluation, and its worst and best cases to look at, in one page."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup

from video_mask2former.evaluation.cases import Case
from video_mask2former.messages import printable
from video_mask2former.metrics import Report
from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.metrics.report import COUNTS, format_figure
from video_mask2former.pages import data_url, json_members, script_data, write_page
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.video_io import VideoWriter
from video_mask2former.visualization import track_color

MOST_FRAMES = 120  # of a case; of longer videos every n-th frame is shown
SHORT_SIDE = 720  # of the video inside the page; masks keep their size
_FRAME_RATE = Fraction(10)


_MEANINGS = {
    "AP": "average precision: mean over classes and over IoU from 0.5 to 0.95",
    "AP50": "AP at an IoU of 0.5",
    "AP75": "AP at an IoU of 0.75",
    "APs, APm, APl": "AP of small, medium and large objects",
    "AR1, AR10, AR100": "average recall of so many predictions a video (or image)",
    "PQ": "panoptic quality, the product of SQ and RQ",
    "RQ": "recognition quality: F1 of the segments that are found",
    "VPQ": "PQ of segments over 1, 2, 4 and 6 frames, averaged",
    "STQ": "segmentation and tracking quality, the geometric mean of AQ and SQ",
    "AQ": "association quality: whether ids stay with their objects",
    "mIoU": "IoU of each class over all pixels, averaged",
    "fwIoU": "the same, weighted by how frequent the classes are",
    "mAcc, pAcc": "accuracy, averaged over classes and over pixels",
    "VC8, VC16": "video consistency: share of windows of so many frames whose constant pixels are right throughout",
}
_SQ = {
    True: "segmentation quality of STQ: mIoU of the classes; not the SQ of PQ",
    False: "segmentation quality of PQ: mean IoU of the segments that are found",
}


@dataclass(frozen=True)
class Bar:
    """A figure as a row of a table: its name, its text, and the share of the bar that is filled (None for counts)."""

    name: str
    text: str
    share: float | None


def write_report(
    path: str | os.PathLike[str],
    title: str,
    facts: Mapping[str, str],
    report: Report,
    qualities: Mapping[str, float],
    cases: Mapping[str, Iterable[Case]],
    class_names: Sequence[str],
) -> None:
    """Write one HTML file that needs no other. The cases are read one by one as they are written.

    Args:
        path: The page.
        title: Its headline.
        facts: What was measured on what, in words.
        report: The figures.
        qualities: Name of each video to how good its answer is.
        cases: Cases to look at, by the name of their group.
        class_names: Name of each label.
    """
    main = next(iter(report.summary))
    measured = {name: value for name, value in report.per_class.items() if value != UNDEFINED}
    ranked = dict(sorted(measured.items(), key=lambda item: -item[1]))
    write_page(
        path,
        "report.html",
        title=title,
        facts=facts,
        main=main,
        summary=_bars(report.summary),
        meanings=meanings(report.summary),
        classes=_bars(ranked),
        num_unmeasured=len(report.per_class) - len(measured),
        groups={name.replace("_", " "): _bars(figures) for name, figures in report.groups.items()},
        qualities=_bars(dict(sorted(qualities.items(), key=lambda item: item[1]))),
        cases=_case_elements(cases, class_names),
    )


def meanings(summary: Mapping[str, float]) -> dict[str, str]:
    """What the figures of a summary are, in words; SQ means one thing beside STQ and another beside PQ."""
    known = {names: text for names, text in _MEANINGS.items() if set(names.split(", ")) & set(summary)}
    return known | ({"SQ": _SQ["STQ" in summary]} if "SQ" in summary else {})


def _bars(figures: Mapping[str, float]) -> list[Bar]:
    return [
        Bar(printable(name), format_figure(name, value), None if name in COUNTS or value == UNDEFINED else value)
        for name, value in figures.items()
    ]


def _case_elements(
    cases: Mapping[str, Iterable[Case]], class_names: Sequence[str]
) -> Iterator[tuple[str, str, str, Iterator[Markup]]]:
    """Group, name, quality and data of each case."""
    for group, members in cases.items():
        for case in members:
            data = script_data(_case_data(case, class_names))
            yield group, printable(case.name), format_figure("quality", case.quality), data


def _case_data(case: Case, class_names: Sequence[str]) -> Iterator[str]:
    """A case as JSON, piece by piece."""
    num_frames = case.ground_truth.num_frames
    frames = range(0, num_frames, -(-num_frames // MOST_FRAMES))
    ground_truth, prediction, iou = case.matched()
    with tempfile.TemporaryDirectory(prefix="video_mask2former_") as folder:
        yield from json_members(
            [
                ("size", list(case.ground_truth.size)),
                ("frames", list(frames)),
                ("frame_rate", float(_FRAME_RATE)),
                ("iou", iou),
                ("truth", _tracks(ground_truth, case, frames, class_names)),
                ("prediction", _tracks(prediction, case, frames, class_names)),
                _pictures(case, frames, Path(folder)),
            ]
        )


def _tracks(side: VideoInstances, case: Case, frames: range, class_names: Sequence[str]) -> Iterator[str]:
    """The tracks as a JSON array, with their masks on some frames."""
    for index, track in enumerate(side.tracks):
        yield "[" if index == 0 else ", "
        yield from json_members(_track(track, case, frames, class_names).items())
    yield "]" if side.tracks else "[]"


def _track(track: Track, case: Case, frames: range, class_names: Sequence[str]) -> dict[str, object]:
    masks = {index: rle["counts"] for index, rle in sorted(track.segmentations.items()) if index in frames}
    return {
        "id": track.track_id,
        "name": printable(class_names[track.label]),
        "score": track.score,
        "is_crowd": track.is_crowd,
        "is_stuff": track.label in case.stuff_labels,
        "area": max(track.areas().values(), default=0),
        "color": list(map(int, track_color(track.track_id))),
        "masks": masks,
    }


def _pictures(case: Case, frames: range, folder: Path) -> tuple[str, Iterator[str] | None]:
    """The frames as what a browser shows: a video, a picture, or nothing where they are not known."""
    if case.frame_paths is None:
        return "video", None
    if len(frames) == 1:
        return "picture", _picture(case.frame(0))
    path = folder / "case.mp4"
    with VideoWriter(path, _FRAME_RATE, crf=26) as writer:
        for index in frames:
            writer.write(_at_most(case.frame(index), SHORT_SIDE, even=True))
    return "video", data_url(path, "video/mp4")


def _picture(image: np.ndarray) -> Iterator[str]:
    picture = cv2.cvtColor(_at_most(image, 2 * SHORT_SIDE), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    yield f'"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode("ascii")}"'


def _at_most(image: np.ndarray, short_side: int, *, even: bool = False) -> np.ndarray:
    """The image with its shorter side at most so long; H.264 wants even sides."""
    height, width = image.shape[:2]
    scale = min(1.0, short_side / min(height, width))
    unit = 2 if even else 1
    size = [max(unit, round(side * scale / unit) * unit) for side in (width, height)]
    return image if size == [width, height] else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
