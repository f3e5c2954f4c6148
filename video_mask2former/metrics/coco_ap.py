"""COCO mask AP of image models, counted by pycocotools image by image."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from video_mask2former.metrics.average_precision import mean_defined
from video_mask2former.metrics.evaluator import check_new
from video_mask2former.metrics.track_comparison import check_same_video
from video_mask2former.metrics.ytvis_ap import SUMMARY_KEYS
from video_mask2former.rle import Rle, encode_masks, rle_areas
from video_mask2former.structures import Track, VideoInstances

# what COCOeval.accumulate reads of one image, class and area range
ImageResult = dict[str, np.ndarray]


class CocoApEvaluator:
    """The 12 numbers of COCO for instance masks.

    An image is a video of one frame; its ``video_id`` is the image id. Matching is done as the images come in, and
    only its outcome is kept.

    Args:
        class_names: Classes of the dataset; labels index them.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        # image id to label to one result for each area range, None where there is nothing of the class
        self._images: dict[int, dict[int, list[ImageResult | None]]] = {}

    def reset(self) -> None:
        """Forget all images."""
        self._images = {}

    def process(
        self,
        prediction: VideoInstances,
        ground_truth: VideoInstances,
        annotated_areas: Mapping[int, float] | None = None,
    ) -> None:
        """Take one image.

        Args:
            prediction: Its predicted instances.
            ground_truth: Its annotated instances.
            annotated_areas: Track id of the annotations to the area their file states, by which COCO sorts them into
                small, medium and large; None measures the masks.

        Raises:
            ValueError: If the two are not of one image, or it was processed before.
        """
        check_same_video(prediction, ground_truth)
        if ground_truth.num_frames != 1:
            raise ValueError(
                f"images have one frame, got {ground_truth.num_frames} in video {ground_truth.video_id}. "
                "Use YtvisApEvaluator for videos."
            )
        assert ground_truth.video_id is not None
        check_new(ground_truth.video_id, self._images)
        annotations = self._annotations(ground_truth)
        for annotation, track in zip(annotations, ground_truth.tracks, strict=True):
            if annotated_areas is not None:
                annotation["area"] = annotated_areas[track.track_id]
        self._images[ground_truth.video_id] = self._match(annotations, self._annotations(prediction), ground_truth)

    def state(self) -> dict[int, dict[int, list[ImageResult | None]]]:
        """What was kept of the images so far."""
        return dict(self._images)

    def merge(self, states: Iterable[Mapping[int, dict[int, list[ImageResult | None]]]]) -> None:
        """Take the images of several states in place of those so far; an image in two states counts once."""
        self._images = {image_id: results for state in states for image_id, results in state.items()}

    def evaluate(self) -> dict[str, float]:
        """The 12 numbers of COCO."""
        evaluation = self._accumulated()
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.summarize()
        return {key: float(value) for key, value in zip(SUMMARY_KEYS, evaluation.stats, strict=True)}

    def per_class(self) -> dict[str, float]:
        """AP of each class, -1 where the class is not annotated."""
        precision = self._accumulated().eval["precision"]  # (thresholds, recall points, K, area ranges, max detections)
        return {name: mean_defined(precision[:, :, label, 0, -1]) for label, name in enumerate(self.class_names)}

    def _annotations(self, instances: VideoInstances) -> list[dict[str, Any]]:
        """COCO annotations of an image; instances without a mask have an empty one."""
        [empty] = encode_masks(np.zeros((1, *instances.size), bool))
        masks = [track.segmentations.get(0, empty) for track in instances.tracks]
        areas = rle_areas(masks)
        return [
            self._annotation(index, track, masks[index], float(areas[index]), instances.video_id)
            for index, track in enumerate(instances.tracks)
        ]

    def _annotation(self, index: int, track: Track, mask: Rle, area: float, image_id: int | None) -> dict[str, Any]:
        if not 0 <= track.label < len(self.class_names):
            raise ValueError(
                f"label of instance {track.track_id} in image {image_id} must be in [0, {len(self.class_names)}), "
                f"got {track.label}."
            )
        return {
            "id": index + 1,  # pycocotools takes a match with id 0 for none
            "image_id": 0,
            "category_id": track.label,
            "score": track.score,
            "iscrowd": int(track.is_crowd),
            "area": area,
            "segmentation": mask,
        }

    def _match(
        self, annotations: list[dict[str, Any]], predictions: list[dict[str, Any]], ground_truth: VideoInstances
    ) -> dict[int, list[ImageResult | None]]:
        labels = sorted({entry["category_id"] for entry in (*annotations, *predictions)})
        evaluation = COCOeval(
            _index(annotations, labels, ground_truth.size), _index(predictions, labels, ground_truth.size), "segm"
        )
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
        num_ranges = len(evaluation.params.areaRng)
        results = [_reduced(result) for result in evaluation.evalImgs]
        return {label: results[row * num_ranges :][:num_ranges] for row, label in enumerate(labels)}

    def _accumulated(self) -> Any:
        """A COCOeval to which the results of all images were given, as if it had matched them itself."""
        evaluation = COCOeval(iouType="segm")
        image_ids = sorted(self._images)
        evaluation.params.imgIds = image_ids
        evaluation.params.catIds = list(range(len(self.class_names)))
        num_ranges = len(evaluation.params.areaRng)
        nothing: list[ImageResult | None] = [None] * num_ranges
        evaluation.evalImgs = [
            self._images[image_id].get(label, nothing)[area_range]
            for label in evaluation.params.catIds
            for area_range in range(num_ranges)
            for image_id in image_ids
        ]
        evaluation._paramsEval = evaluation.params
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        return evaluation


def _index(annotations: list[dict[str, Any]], labels: Sequence[int], size: tuple[int, int]) -> Any:
    """A COCO object holding one image."""
    index = COCO()
    index.dataset = {
        "images": [{"id": 0, "height": size[0], "width": size[1]}],
        "categories": [{"id": label} for label in labels],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def _reduced(result: dict[str, Any] | None) -> ImageResult | None:
    if result is None:
        return None
    return {
        "dtScores": np.asarray(result["dtScores"], np.float64),
        "dtMatches": np.asarray(result["dtMatches"]) > 0,
        "dtIgnore": np.asarray(result["dtIgnore"], bool),
        "gtIgnore": np.asarray(result["gtIgnore"], bool),
    }
