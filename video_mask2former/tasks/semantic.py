"""Semantic segmentation of images: every pixel is of one class; measured by mIoU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo
from video_mask2former.data.label_maps import LabelMapFolder
from video_mask2former.metrics import Report, SemanticIouEvaluator
from video_mask2former.rle import encode_masks
from video_mask2former.structures import ClipOutput, Track, VideoInstances
from video_mask2former.tasks.base import AnswerRules, EvaluationOptions, Task, TaskEvaluator, by_key, write_entries
from video_mask2former.tasks.pixel_files import pack_pictures, write_label_maps
from video_mask2former.tasks.postprocess import image_semantic
from video_mask2former.tasks.segment_maps import IGNORED, label_maps_of


class SemanticTask(Task):
    """Every pixel of an image to the class of the highest score; a track is all there is of a class.

    Args:
        resize_scores: Bring scores instead of mask logits to the size of the image, which is the published order of
            models that only do this.
    """

    name = "semantic"
    metric_names: ClassVar[tuple[str, ...]] = ("mIoU", "fwIoU", "mAcc", "pAcc")
    is_of_images = True

    def __init__(self, resize_scores: bool = False) -> None:
        self.resize_scores = resize_scores

    def clip_tracks(
        self, output: ClipOutput, frame_indices: Sequence[int], size: tuple[int, int], rules: AnswerRules
    ) -> tuple[Track, ...]:
        """See :func:`~video_mask2former.tasks.postprocess.image_semantic`."""
        labels = image_semantic(output, size, resize_scores=self.resize_scores).argmax(0).cpu().numpy()
        present = np.unique(labels)
        masks = encode_masks(labels == present[:, None, None])
        return tuple(
            Track(label + 1, label, 1.0, {frame_indices[0]: mask})
            for label, mask in zip(present.tolist(), masks, strict=True)
        )

    def write(self, answer: VideoInstances, video: EvaluationVideo, data: EvaluationSet, path: Path) -> None:
        """A label map; there are no entries."""
        write_label_maps(path.parents[1] / "results", [(0, video.name)], answer)
        write_entries(path, [])

    def results_path(self, folder: Path) -> Path:
        """The folder of the label maps."""
        return folder / "results"

    def join(self, entries: Iterable[dict[str, Any]], folder: Path) -> None:
        """Nothing is to be joined."""

    def pack(self, results: Path, path: Path) -> None:
        """The label maps, in a folder for each video, as the server of VSPW takes them."""
        pack_pictures(results, path)

    def stuff_labels(self, rules: AnswerRules) -> frozenset[int]:
        """All classes."""
        return frozenset(range(len(rules.is_thing)))

    def read(
        self, results: Path, data: EvaluationSet, options: EvaluationOptions
    ) -> Callable[[EvaluationVideo], VideoInstances]:
        """See :meth:`Task.read`."""
        if not results.is_dir():
            raise FileNotFoundError(f"label maps are measured against a folder of PNGs, and {results} is none.")
        folder = LabelMapFolder(results)
        return lambda video: replace(
            folder.read_instances([video.name], len(data.class_names)), video_id=video.video_id
        )

    def evaluator(self, data: EvaluationSet, options: EvaluationOptions) -> TaskEvaluator:
        """mIoU and its relatives."""
        return SemanticEvaluation(data.class_names)


class SemanticEvaluation(TaskEvaluator):
    """mIoU and its relatives; pixels that the ground truth gives no class do not count.

    Args:
        class_names: Classes of the dataset.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._iou = SemanticIouEvaluator(class_names, ignore_label=IGNORED)
        super().__init__(iou=self._iou)

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one image."""
        assert ground_truth.video_id is not None
        self._iou.process_frames(ground_truth.video_id, label_maps_of(prediction, ground_truth))

    def evaluate(self) -> dict[str, float]:
        """mIoU, fwIoU, mean and pixel accuracy."""
        return self._iou.evaluate()

    def report(self, keys: Mapping[int, str]) -> Report:
        """The same, and IoU of each class and image."""
        samples = {"per_image": by_key(self.qualities(), keys)}
        return Report(self.evaluate(), self._iou.per_class(), samples=samples)

    def qualities(self) -> dict[int, float]:
        """mIoU of each image over its classes."""
        return self._iou.per_sample()
