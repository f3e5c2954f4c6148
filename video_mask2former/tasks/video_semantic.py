"""Video semantic segmentation: every pixel of every frame is of one class; measured by mIoU and consistency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo
from video_mask2former.data.label_maps import LabelMapFolder, masks_of_numbers
from video_mask2former.metrics import Report, SemanticIouEvaluator, VideoConsistencyEvaluator
from video_mask2former.rle import Rle
from video_mask2former.structures import ClipOutput, FrameInstances, Track, VideoInstances
from video_mask2former.tasks.base import (
    AnswerRules,
    EvaluationOptions,
    TaskEvaluator,
    TrackedWindow,
    by_key,
    write_entries,
)
from video_mask2former.tasks.merging import merge_classes
from video_mask2former.tasks.pixel_files import write_label_maps
from video_mask2former.tasks.postprocess import output_geometry
from video_mask2former.tasks.recorder import FrameRecorder, Recorder
from video_mask2former.tasks.segment_maps import IGNORED, label_maps_of
from video_mask2former.tasks.semantic import SemanticTask


class VideoSemanticTask(SemanticTask):
    """Every pixel of a video to the class of the highest score, by the rule of DVIS++ and VidEoMT.

    The class probabilities of a query are its own over the whole clip, or those of its track so far where the tracker
    reports every query; a tracker that reports some of them has no say in sums over all.
    """

    name = "video_semantic"
    metric_names = (*SemanticTask.metric_names, "VC8", "VC16")
    is_of_images = False

    def __init__(self) -> None:
        """No options: the order of the steps is that of the published models of videos."""

    def clip_tracks(
        self, output: ClipOutput, frame_indices: Sequence[int], size: tuple[int, int], rules: AnswerRules
    ) -> tuple[Track, ...]:
        """See :func:`~video_mask2former.tasks.merging.merge_classes`; the id of a class is its number from 1."""
        probabilities = output.class_probabilities()[0, :, :-1]
        masks: dict[int, dict[int, Rle]] = {}
        maps = merge_classes(probabilities, output.mask_logits, output_geometry(output, size))
        for index, labels in zip(frame_indices, maps, strict=True):
            for label, rle in masks_of_numbers(labels):
                masks.setdefault(label, {})[index] = rle
        return tuple(Track(label + 1, label, 1.0, masks[label]) for label in sorted(masks))

    def recorder(self, size: tuple[int, int], rules: AnswerRules) -> Recorder:
        """Records what is answered on each frame."""
        return FrameRecorder(size)

    def window_frames(
        self, window: TrackedWindow, rules: AnswerRules, recorder: Recorder | None
    ) -> list[FrameInstances]:
        """The classes of each new frame."""
        update, output = window.update, window.output
        if update.mask_logits is not None or len(update) == output.class_logits.shape[1]:
            probabilities, mask_logits = update.class_probabilities(), window.mask_logits(range(len(update)))
        else:
            probabilities = output.class_probabilities()[0]
            stop = window.first_new + len(window.frame_indices)
            mask_logits = output.mask_logits.frames(window.first_new, stop)
        frames = []
        maps = merge_classes(probabilities[:, :-1], mask_logits, output_geometry(output, window.size))
        for index, labels in zip(window.frame_indices, maps, strict=True):
            found = list(masks_of_numbers(labels))
            frame = FrameInstances(
                index,
                window.size,
                tuple(label + 1 for label, _ in found),
                tuple(label for label, _ in found),
                (1.0,) * len(found),
                tuple(rle for _, rle in found),
            )
            if isinstance(recorder, FrameRecorder):
                recorder.add(frame)
            frames.append(frame)
        return frames

    def write(self, answer: VideoInstances, video: EvaluationVideo, data: EvaluationSet, path: Path) -> None:
        """A folder of label maps; there are no entries."""
        write_label_maps(path.parents[1] / "results" / str(video.key), enumerate(video.frame_names), answer)
        write_entries(path, [])

    def read(
        self, results: Path, data: EvaluationSet, options: EvaluationOptions
    ) -> Callable[[EvaluationVideo], VideoInstances]:
        """See :meth:`Task.read`."""
        if not results.is_dir():
            raise FileNotFoundError(f"label maps are measured against a folder of PNGs, and {results} is none.")
        folder = LabelMapFolder(results)

        def read_video(video: EvaluationVideo) -> VideoInstances:
            names = [f"{video.key}/{name}" for name in video.frame_names]
            return replace(folder.read_instances(names, len(data.class_names)), video_id=video.video_id)

        return read_video

    def evaluator(self, data: EvaluationSet, options: EvaluationOptions) -> TaskEvaluator:
        """mIoU and its relatives, and video consistency."""
        return VideoSemanticEvaluation(data.class_names)


class VideoSemanticEvaluation(TaskEvaluator):
    """mIoU and its relatives over all frames, and video consistency.

    Args:
        class_names: Classes of the dataset.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._iou = SemanticIouEvaluator(class_names, ignore_label=IGNORED)
        self._consistency = VideoConsistencyEvaluator()
        super().__init__(iou=self._iou, consistency=self._consistency)

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one video, a frame at a time."""
        assert ground_truth.video_id is not None
        for measure in (self._iou, self._consistency):
            measure.process_frames(ground_truth.video_id, label_maps_of(prediction, ground_truth))

    def evaluate(self) -> dict[str, float]:
        """mIoU, fwIoU, mean and pixel accuracy, VC8 and VC16."""
        return self._iou.evaluate() | self._consistency.evaluate()

    def report(self, keys: Mapping[int, str]) -> Report:
        """The same, and IoU of each class and video."""
        samples = {"per_video": by_key(self.qualities(), keys)}
        return Report(self.evaluate(), self._iou.per_class(), samples=samples)

    def qualities(self) -> dict[int, float]:
        """mIoU of each video over its classes."""
        return self._iou.per_sample()
