"""From a dataset and results on disk to figures, and to a page with these and the worst and best cases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from video_mask2former.config import InferenceSettings
from video_mask2former.data.annotation_format import read_json
from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo, EvaluationVideos
from video_mask2former.evaluation.cases import Case, choose_cases
from video_mask2former.evaluation.report_page import write_report
from video_mask2former.metrics import Report
from video_mask2former.progress import tracked
from video_mask2former.structures import VideoInstances
from video_mask2former.tasks import EvaluationOptions, Task
from video_mask2former.tasks.base import AnswerRules


@dataclass(frozen=True)
class Measurement:
    """The figures of results, and how good the answer for each video is."""

    task: Task
    data: EvaluationSet
    results: Path
    answers: Callable[[EvaluationVideo], VideoInstances]
    options: EvaluationOptions
    report: Report
    qualities: Mapping[int, float]

    def write_page(self, path: Path, num_cases: int = 5) -> None:
        """Write a page of all figures, with so many worst and so many best cases, which are drawn one by one."""
        worst, best = choose_cases(self.qualities, num_cases)
        names = ("object",) if self.options.is_class_agnostic else self.data.class_names
        cases = {"worst": self._cases(worst), "best": self._cases(best)}
        titles = {video.video_id: video.title for video in self.data}
        qualities = {titles[video_id]: quality for video_id, quality in self.qualities.items()}
        facts = {
            "task": self.task.name,
            "annotations": str(self.data.path),
            "results": str(self.results),
            "images" if self.data.is_of_images else "videos": f"{len(self.data)}",
        }
        if self.options.is_class_agnostic:
            facts["classes"] = "not compared"
        title = f"{self.data.path.parent.name}/{self.data.path.name}"
        write_report(path, title, facts, self.report, qualities, cases, names)

    def _cases(self, video_ids: Iterable[int]) -> Iterator[Case]:
        position = {video.video_id: index for index, video in enumerate(self.data)}
        stuff = stuff_of(self.task, self.data)
        for video_id in video_ids:
            video = self.data[position[video_id]]
            shown, truth = (self.task.drawn(i, self.options) for i in (self.answers(video), video.ground_truth()))
            yield Case(video.title, self.qualities[video_id], shown, truth, video.paths, stuff)


def stuff_of(task: Task, data: EvaluationSet) -> frozenset[int]:
    """Classes of a dataset that a task draws lightly."""
    return task.stuff_labels(AnswerRules(InferenceSettings(), data.is_thing))


def measure(task: Task, data: EvaluationSet, results: Path, options: EvaluationOptions) -> Measurement:
    """Measure results on disk.

    Raises:
        FileNotFoundError: If something is not there.
        ValueError: If the results are wrong, or do not fit the annotations.
    """
    answers = task.read(results, data, options)
    evaluator = task.evaluator(data, options)
    keys = {}
    for video in tracked(data, "measure", "video"):
        keys[video.video_id] = str(video.key)
        evaluator.process(answers(video), video.ground_truth())
    return Measurement(task, data, results, answers, options, evaluator.report(keys), evaluator.qualities())


def long_videos(data: EvaluationSet, short_videos: str | None, long_from: int | None) -> frozenset[int] | None:
    """Ids of the long videos: those of many frames, or those that are not in the file of the short ones.

    Args:
        data: All videos.
        short_videos: Annotation file of the short videos; videos are recognised by the names of their first frames.
        long_from: Least number of frames of a long video.
    """
    if short_videos is None and long_from is None:
        return None
    if not isinstance(data, EvaluationVideos) or (short_videos is not None and long_from is not None):
        raise ValueError(
            "short and long videos are distinguished in video annotations only, by --short-videos or --long-from."
        )
    records = [data.annotations[index] for index in range(len(data))]
    if long_from is not None:
        return frozenset(record.video_id for record in records if record.num_frames >= long_from)
    assert short_videos is not None
    try:
        short = {os.path.normpath(video["file_names"][0]) for video in read_json(short_videos)["videos"]}
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{short_videos} must list videos and their file_names, as YouTube-VIS files do.") from error
    return frozenset(record.video_id for record in records if os.path.normpath(record.file_names[0]) not in short)
