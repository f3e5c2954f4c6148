"""Video panoptic segmentation: every pixel is of one thing with an id of its own, or of one stuff class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.metrics import PanopticQualityEvaluator, Report, SegmentationTrackingQualityEvaluator
from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.structures import ClipOutput, FrameInstances, Track, VideoInstances
from video_mask2former.tasks.base import (
    AnswerRules,
    EvaluationOptions,
    TaskEvaluator,
    TrackedWindow,
    by_key,
    write_entries,
)
from video_mask2former.tasks.mask_encoding import MaskGeometry
from video_mask2former.tasks.merging import MergedSegment, merge_segments
from video_mask2former.tasks.panoptic import PanopticTask
from video_mask2former.tasks.pixel_files import write_panoptic_frames
from video_mask2former.tasks.postprocess import output_geometry
from video_mask2former.tasks.recorder import FrameRecorder, Recorder
from video_mask2former.tasks.segment_maps import compare_instances

WINDOWS = (1, 2, 4, 6)
"""Lengths of the windows that the authors of VIPSeg average VPQ over."""
_QUALITIES = ("PQ", "PQ_things", "PQ_stuff")


class VideoPanopticTask(PanopticTask):
    """Every pixel of a video to one thing, to one stuff class, or to nothing, by the rule of DVIS++ and VidEoMT.

    Stuff of class ``label`` has the id ``label + 1`` in every video; things have ids above the number of classes. What
    a segment keeps of its own mask is counted over the whole video where that is decoded as one clip, and over the new
    frames of each window online.

    Args:
        object_mask_threshold: Queries below this class score take no part in the merge.
        overlap_threshold: Share of its own mask that a segment must keep in the merge.
        fill: Give a segment every pixel that its query won, not only those inside of its own mask.
        stuff: Names or indices of the classes without countable objects; by default what the class list of the model
            says. A dataset that is measured on says it itself.
    """

    name = "video_panoptic"
    metric_names = ("VPQ", "VPQ_things", "VPQ_stuff", *(f"VPQ{window}" for window in WINDOWS), "STQ", "AQ", "SQ")
    is_of_images = False

    def clip_tracks(
        self, output: ClipOutput, frame_indices: Sequence[int], size: tuple[int, int], rules: AnswerRules
    ) -> tuple[Track, ...]:
        """See :func:`~video_mask2former.tasks.merging.merge_segments`; the id of a thing is that of its query."""
        geometry = output_geometry(output, size)
        probabilities = output.class_probabilities()[0]
        segments = self._merge(probabilities, output.mask_logits, geometry, rules)
        return tuple(
            Track(
                _segment_id(segment, segment.row + 1, rules),
                segment.label,
                segment.score,
                {frame_indices[position]: rle for position, rle in segment.masks.items()},
            )
            for segment in segments
        )

    def _merge(
        self, probabilities: Tensor, mask_logits: MaskLogits, geometry: MaskGeometry, rules: AnswerRules
    ) -> list[MergedSegment]:
        return merge_segments(
            probabilities,
            mask_logits,
            geometry,
            rules.is_thing,
            object_mask_threshold=self.object_mask_threshold,
            overlap_threshold=self.overlap_threshold,
            fill=self.fill,
        )

    def recorder(self, size: tuple[int, int], rules: AnswerRules) -> Recorder:
        """Records what is answered on each frame."""
        return FrameRecorder(size)

    def window_frames(
        self, window: TrackedWindow, rules: AnswerRules, recorder: Recorder | None
    ) -> list[FrameInstances]:
        """The segments of each new frame; the id of a thing is that of its track."""
        update = window.update
        segments = self._merge(
            update.class_probabilities(),
            window.mask_logits(range(len(update))),
            output_geometry(window.output, window.size),
            rules,
        )
        frames = []
        for position, index in enumerate(window.frame_indices):
            here = [segment for segment in segments if position in segment.masks]
            frame = FrameInstances(
                index,
                window.size,
                tuple(_segment_id(segment, update.track_ids[segment.row], rules) for segment in here),
                tuple(segment.label for segment in here),
                tuple(segment.score for segment in here),
                tuple(segment.masks[position] for segment in here),
            )
            if isinstance(recorder, FrameRecorder):
                recorder.add(frame)
            frames.append(frame)
        return frames

    def write(self, answer: VideoInstances, video: EvaluationVideo, data: EvaluationSet, path: Path) -> None:
        """A folder of PNGs of segment ids, and their entry in the form of VIPSeg."""
        folder = path.parents[1] / "results" / str(video.key)
        frames = write_panoptic_frames(folder, enumerate(video.frame_names), answer, data.category_ids)
        write_entries(path, [{"video_id": video.key, "annotations": frames}])

    def evaluator(self, data: EvaluationSet, options: EvaluationOptions) -> TaskEvaluator:
        """VPQ over windows and over whole videos."""
        return VideoPanopticEvaluation(data.class_names, data.is_thing)


class VideoPanopticEvaluation(TaskEvaluator):
    """VPQ, the mean over windows of 1, 2, 4 and 6 frames, and STQ.

    Args:
        class_names: Classes of the dataset.
        is_thing: Whether each has countable objects.
    """

    def __init__(self, class_names: Sequence[str], is_thing: Sequence[bool]) -> None:
        self._whole = PanopticQualityEvaluator(class_names, is_thing)
        self._windows = {
            window: PanopticQualityEvaluator(class_names, is_thing, num_window_frames=window) for window in WINDOWS
        }
        self._tracking = SegmentationTrackingQualityEvaluator(class_names, is_thing)
        self._vipseg = SegmentationTrackingQualityEvaluator(class_names, is_thing, first_is_crowd=True)
        windows = {f"window_{window}": evaluator for window, evaluator in self._windows.items()}
        super().__init__(whole=self._whole, tracking=self._tracking, vipseg=self._vipseg, **windows)

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one video."""
        overlaps = compare_instances(prediction, ground_truth)
        for evaluator in (self._whole, *self._windows.values()):
            evaluator.process_overlaps(overlaps)
        for tracking in (self._tracking, self._vipseg):
            tracking.process_overlaps(overlaps)

    def evaluate(self) -> dict[str, float]:
        """VPQ, that of things, of stuff and of each length of windows; STQ, AQ and SQ."""
        qualities = {window: evaluator.evaluate() for window, evaluator in self._windows.items()}
        means = {f"V{name}": _mean(figures[name] for figures in qualities.values()) for name in _QUALITIES}
        return means | {f"VPQ{window}": qualities[window]["PQ"] for window in WINDOWS} | self._tracking.evaluate()

    def report(self, keys: Mapping[int, str]) -> Report:
        """The same, PQ of each class over windows of one frame, and of each video; STQ as papers on VIPSeg quote it."""
        vpq = {f"{window} frames": evaluator.evaluate()["PQ"] for window, evaluator in self._windows.items()}
        groups = {
            "vpq": {**vpq, "mean": _mean(vpq.values())},
            "whole_videos": self._whole.evaluate(),
            "stq_of_vipseg_program": self._vipseg.evaluate(),
        }
        samples = {
            "per_video": by_key(self.qualities(), keys),
            "stq_per_video": by_key(self._tracking.per_sample(), keys),
        }
        return Report(self.evaluate(), self._windows[1].per_class(), groups, samples)

    def qualities(self) -> dict[int, float]:
        """PQ of each video as a whole."""
        return self._whole.per_sample()


def _mean(figures: Iterable[float]) -> float:
    defined = [figure for figure in figures if figure >= 0]
    return sum(defined) / len(defined) if defined else UNDEFINED


def _segment_id(segment: MergedSegment, thing_id: int, rules: AnswerRules) -> int:
    num_classes = len(rules.is_thing)
    return num_classes + thing_id if rules.is_thing[segment.label] else segment.label + 1
