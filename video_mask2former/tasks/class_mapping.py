"""Labels of a model to those of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from video_mask2former.structures import Track, VideoInstances


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
