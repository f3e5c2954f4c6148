"""Everything that is measured of predictions on a dataset, put together; training and the command line use the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from video_mask2former.metrics import (
    CocoApEvaluator,
    IdentityEvaluator,
    Report,
    YtvisApEvaluator,
    ap_by_instance_count,
    ap_by_motion_speed,
    ap_by_track_length,
    short_long_summary,
    video_qualities,
    without_classes,
)
from video_mask2former.structures import Track, VideoInstances


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, and how.

    Attributes:
        is_class_agnostic: Compare masks whatever their class.
        min_score: Predictions below do not count for identities and the ranking of videos. AP takes all.
        long_video_ids: The long videos of YouTube-VIS 2022, for the mean of short and long ones; None without.
    """

    is_class_agnostic: bool = False
    min_score: float = 0.3
    long_video_ids: frozenset[int] | None = None


class VideoEvaluation:
    """All measures of video instance segmentation; an :class:`~video_mask2former.metrics.Evaluator` itself.

    Args:
        class_names: Classes of the dataset; labels of predictions and ground truth index them.
        options: What is measured.
    """

    def __init__(self, class_names: Sequence[str], options: EvaluationOptions | None = None) -> None:
        self._options = options or EvaluationOptions()
        is_class_agnostic = self._options.is_class_agnostic
        self._ap = YtvisApEvaluator(class_names, is_class_agnostic=is_class_agnostic)
        self._identity = IdentityEvaluator(min_score=self._options.min_score, is_class_agnostic=is_class_agnostic)

    def reset(self) -> None:
        """Forget all videos."""
        self._ap.reset()
        self._identity.reset()

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one video."""
        self._ap.process(prediction, ground_truth)
        self._identity.process(prediction, ground_truth)

    def state(self) -> tuple[Any, Any]:
        """What was kept of the videos so far."""
        return self._ap.state(), self._identity.state()

    def merge(self, states: Iterable[tuple[Any, Any]]) -> None:
        """Take the videos of several states in place of those so far."""
        states = list(states)
        self._ap.merge(state for state, _ in states)
        self._identity.merge(state for _, state in states)

    def evaluate(self) -> dict[str, float]:
        """The 12 official numbers."""
        return self._ap.evaluate()

    def report(self) -> Report:
        """The 12 numbers, AP per class, breakdowns and identity measures."""
        videos, num_classes = self._ap.videos, len(self._ap.class_names)
        groups = {
            "by_track_length": ap_by_track_length(videos, num_classes),
            "by_instance_count": ap_by_instance_count(videos, num_classes),
            "by_motion_speed": ap_by_motion_speed(videos, num_classes),
            "identity": self._identity.evaluate(),
        }
        if self._options.long_video_ids is not None:
            groups |= short_long_summary(videos, num_classes, self._options.long_video_ids)
        return Report(self.evaluate(), self._ap.per_class(), groups, {"per_video": by_name(self.qualities())})

    def qualities(self) -> dict[int, float]:
        """How good the prediction of each video is, to find the best and the worst."""
        return video_qualities(self._ap.videos, self._options.min_score)


class ImageEvaluation:
    """COCO's measures of instance segmentation in images, which are videos of one frame.

    Args:
        class_names: Classes of the dataset.
        annotated_areas: Annotation id to the area that the annotation file states, where it does.
        options: What is measured; the identity of objects plays no role in images.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        annotated_areas: Mapping[int, float] | None = None,
        options: EvaluationOptions | None = None,
    ) -> None:
        self._options = options or EvaluationOptions()
        self._ap = CocoApEvaluator(("object",) if self._options.is_class_agnostic else class_names)
        # only for the ranking of images
        self._video_ap = YtvisApEvaluator(class_names, is_class_agnostic=self._options.is_class_agnostic)
        self._annotated_areas = annotated_areas

    def reset(self) -> None:
        """Forget all images."""
        self._ap.reset()
        self._video_ap.reset()

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one image."""
        self._video_ap.process(prediction, ground_truth)
        if self._options.is_class_agnostic:
            prediction, ground_truth = without_classes(prediction), without_classes(ground_truth)
        self._ap.process(prediction, ground_truth, self._annotated_areas)

    def state(self) -> tuple[Any, Any]:
        """What was kept of the images so far."""
        return self._ap.state(), self._video_ap.state()

    def merge(self, states: Iterable[tuple[Any, Any]]) -> None:
        """Take the images of several states in place of those so far."""
        states = list(states)
        self._ap.merge(state for state, _ in states)
        self._video_ap.merge(state for _, state in states)

    def evaluate(self) -> dict[str, float]:
        """The 12 numbers of COCO."""
        return self._ap.evaluate()

    def report(self) -> Report:
        """The 12 numbers and AP per class."""
        return Report(self.evaluate(), self._ap.per_class(), samples={"per_image": by_name(self.qualities())})

    def qualities(self) -> dict[int, float]:
        """How good the prediction of each image is."""
        return video_qualities(self._video_ap.videos, self._options.min_score)


def by_name(figures: Mapping[int, float]) -> dict[str, float]:
    """Figures of samples under their ids as text, which is what JSON keys are."""
    return {str(sample_id): figure for sample_id, figure in figures.items()}


class ClassMapping:
    """Labels of a model to those of a dataset, by the names of the classes.

    Upper case, spaces, "_" and "-" make no difference. Without names on the model's side, the same number of classes
    is taken for the same classes.

    Args:
        model_classes: Names of the model's classes, empty where unknown.
        num_model_classes: How many it has.
        dataset_classes: Names of the dataset's classes.
        is_class_agnostic: Keep predictions of classes that the dataset does not have, under its first class.

    Raises:
        ValueError: If the two have no class in common.
    """

    def __init__(
        self,
        model_classes: Sequence[str],
        num_model_classes: int,
        dataset_classes: Sequence[str],
        *,
        is_class_agnostic: bool = False,
    ) -> None:
        fallback = 0 if is_class_agnostic else None
        if model_classes:
            known = {_normalised(name): label for label, name in enumerate(dataset_classes)}
            self.labels = [known.get(_normalised(name), fallback) for name in model_classes]
        elif num_model_classes == len(dataset_classes):
            self.labels = list(range(num_model_classes))
        else:
            self.labels = [fallback] * num_model_classes
        if all(label is None for label in self.labels):
            raise ValueError(
                f"the model has no class of the dataset: it has {_some(model_classes) or num_model_classes}, the "
                f"dataset {_some(dataset_classes)}. Use --class-agnostic to compare masks whatever their class."
            )
        self.unknown = tuple(name for name, label in zip(model_classes, self.labels, strict=False) if label is None)

    def apply(self, instances: VideoInstances) -> VideoInstances:
        """The tracks of classes that the dataset has, under its labels."""
        return replace(instances, tracks=tuple(self._kept(instances.tracks)), class_names=())

    def _kept(self, tracks: Iterable[Track]) -> Iterable[Track]:
        for track in tracks:
            label = self.labels[track.label]
            if label is not None:
                yield replace(track, label=label)


def _normalised(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")
