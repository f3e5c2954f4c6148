"""Panoptic segmentation of images: every pixel is of one thing or of one stuff class; measured by panoptic quality."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo
from video_mask2former.data.panoptic_files import load_panoptic, write_segment_ids
from video_mask2former.metrics import PanopticQualityEvaluator, Report
from video_mask2former.option_values import Share
from video_mask2former.rle import encode_masks
from video_mask2former.structures import ClipOutput, Track, VideoInstances
from video_mask2former.tasks.base import AnswerRules, EvaluationOptions, Task, TaskEvaluator, by_key, write_entries
from video_mask2former.tasks.pixel_files import pack_pictures, write_panoptic_json
from video_mask2former.tasks.postprocess import PanopticSegmentation, image_panoptic
from video_mask2former.tasks.segment_maps import compare_instances, paint
from video_mask2former.tasks.selection import class_indices


class PanopticTask(Task):
    """Every pixel of an image to one thing, to one stuff class, or to nothing, by the rule of Mask2Former.

    Args:
        object_mask_threshold: Queries below this class score take no part in the merge.
        overlap_threshold: Share of its own mask that a segment must keep in the merge.
        fill: Give a segment every pixel that its query won, which is the rule of MaskFormer, instead of those inside
            of its own mask only.
        stuff: Names or indices of the classes without countable objects; by default what the class list of the model
            says. A dataset that is measured on says it itself.
    """

    name = "panoptic"
    metric_names = tuple(f"{name}{part}" for part in ("", "_things", "_stuff") for name in ("PQ", "SQ", "RQ"))
    is_of_images = True
    forms = ("instances", "panoptic")

    def __init__(
        self,
        object_mask_threshold: Share = 0.8,
        overlap_threshold: Share = 0.8,
        fill: bool = False,
        stuff: Sequence[str | int] | None = None,
    ) -> None:
        self.object_mask_threshold = object_mask_threshold
        self.overlap_threshold = overlap_threshold
        self.fill = fill
        self.stuff = None if stuff is None else tuple(stuff)

    def is_thing(self, class_names: Sequence[str], num_classes: int) -> tuple[bool, ...]:
        """See :meth:`Task.is_thing`."""
        if self.stuff is None:
            return super().is_thing(class_names, num_classes)
        stuff = class_indices(self.stuff, class_names, num_classes)
        return tuple(label not in stuff for label in range(num_classes))

    def segment(self, output: ClipOutput, size: tuple[int, int], things: Collection[int]) -> PanopticSegmentation:
        """See :func:`~video_mask2former.tasks.postprocess.image_panoptic`."""
        return image_panoptic(
            output,
            size,
            things,
            object_mask_threshold=self.object_mask_threshold,
            overlap_threshold=self.overlap_threshold,
            fill=self.fill,
        )

    def clip_tracks(
        self, output: ClipOutput, frame_indices: Sequence[int], size: tuple[int, int], rules: AnswerRules
    ) -> tuple[Track, ...]:
        """The segments of an image as tracks of one frame."""
        things = [label for label, is_thing in enumerate(rules.is_thing) if is_thing]
        segmentation = self.segment(output, size, things)
        label_map = segmentation.label_map.cpu().numpy()
        ids = [segment.segment_id for segment in segmentation.segments]
        masks = encode_masks(label_map == np.array(ids, np.int32)[:, None, None])
        return tuple(
            Track(segment.segment_id, segment.label, segment.score, {frame_indices[0]: mask})
            for segment, mask in zip(segmentation.segments, masks, strict=True)
        )

    def write(self, answer: VideoInstances, video: EvaluationVideo, data: EvaluationSet, path: Path) -> None:
        """A PNG of segment ids, and its entry in the form of COCO panoptic."""
        file_name = f"{video.name}.png"
        segment_ids = paint(answer, [track.track_id for track in answer.tracks], 0)
        write_segment_ids(path.parents[1] / "results" / file_name, segment_ids)
        segments = [
            {"id": track.track_id, "category_id": data.category_ids[track.label], "area": sum(track.areas().values())}
            for track in answer.tracks
        ]
        write_entries(path, [{"image_id": video.key, "file_name": file_name, "segments_info": segments}])

    def join(self, entries: Iterable[dict[str, Any]], folder: Path) -> None:
        """``results.json`` beside the PNGs in ``results``."""
        write_panoptic_json(self.results_path(folder), entries)

    def pack(self, results: Path, path: Path) -> None:
        """``pred.json``, and the PNGs in ``pan_pred``, as the server of VIPSeg takes them."""
        pack_pictures(results.with_suffix(""), path, json_file=results)

    def stuff_labels(self, rules: AnswerRules) -> frozenset[int]:
        """The classes without countable objects."""
        return frozenset(label for label, is_thing in enumerate(rules.is_thing) if not is_thing)

    def read(
        self, results: Path, data: EvaluationSet, options: EvaluationOptions
    ) -> Callable[[EvaluationVideo], VideoInstances]:
        """See :meth:`Task.read`."""
        file = load_panoptic(results)
        return lambda video: replace(file.read(str(video.key), data.category_ids), video_id=video.video_id)

    def evaluator(self, data: EvaluationSet, options: EvaluationOptions) -> TaskEvaluator:
        """PQ, SQ and RQ."""
        return PanopticEvaluation(data.class_names, data.is_thing)


class PanopticEvaluation(TaskEvaluator):
    """Panoptic quality of images.

    Args:
        class_names: Classes of the dataset.
        is_thing: Whether each has countable objects.
    """

    def __init__(self, class_names: Sequence[str], is_thing: Sequence[bool]) -> None:
        self._quality = PanopticQualityEvaluator(class_names, is_thing)
        super().__init__(quality=self._quality)

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one image."""
        self._quality.process_overlaps(compare_instances(prediction, ground_truth))

    def evaluate(self) -> dict[str, float]:
        """PQ, SQ and RQ of all classes, of things and of stuff."""
        return self._quality.evaluate()

    def report(self, keys: Mapping[int, str]) -> Report:
        """The same, and PQ of each class and image."""
        samples = {"per_image": by_key(self.qualities(), keys)}
        return Report(self.evaluate(), self._quality.per_class(), samples=samples)

    def qualities(self) -> dict[int, float]:
        """PQ of each image."""
        return self._quality.per_sample()
