"""What every task is: predicted, kept in files, measured and drawn by one object."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from video_mask2former.atomic import atomic_path
from video_mask2former.config import InferenceSettings
from video_mask2former.data.class_names import known_things
from video_mask2former.data.evaluation_videos import AnnotationForm, EvaluationSet, EvaluationVideo
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.metrics import Evaluator, Report
from video_mask2former.results import pack_submission
from video_mask2former.results.json_array_file import JsonArrayFile
from video_mask2former.structures import ClipOutput, FrameInstances, Track, VideoInstances
from video_mask2former.tasks.recorder import Recorder
from video_mask2former.tracking import TrackUpdate


@dataclass(frozen=True)
class AnswerRules:
    """What a task knows of the model and of the request.

    Attributes:
        settings: How the model is run; its classes are indices.
        is_thing: Whether each class of the model has countable objects.
    """

    settings: InferenceSettings
    is_thing: tuple[bool, ...]


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, and how.

    Attributes:
        is_class_agnostic: Compare masks whatever their class.
        min_score: Predictions below do not count for identities, the ranking of videos and pictures. AP takes all.
        long_video_ids: The long videos of YouTube-VIS 2022, for the mean of short and long ones; None without.
    """

    is_class_agnostic: bool = False
    min_score: float = 0.3
    long_video_ids: frozenset[int] | None = None


@dataclass(frozen=True)
class TrackedWindow:
    """The frames of a window that no earlier window had, and the tracks on them.

    Attributes:
        update: What the tracker says of the window.
        output: What the model says of it.
        frame_indices: Position of each new frame in the video.
        first_new: The first of them in the window.
        size: Height and width of the original frames.
    """

    update: TrackUpdate
    output: ClipOutput
    frame_indices: Sequence[int]
    first_new: int
    size: tuple[int, int]

    def mask_logits(self, rows: Sequence[int]) -> MaskLogits:
        """Masks of some tracks, by their rows in the update, on the new frames."""
        queries = torch.tensor([self.update.query_indices[row] for row in rows], dtype=torch.int64)
        logits = self.output.mask_logits if self.update.mask_logits is None else self.update.mask_logits
        stop = self.first_new + len(self.frame_indices)
        return logits.frames(self.first_new, stop).select(queries.to(logits.embeddings.device))


def by_key(figures: Mapping[int, float], keys: Mapping[int, str]) -> dict[str, float]:
    """Figures of videos under what the dataset calls them, as text, which is what JSON keys are."""
    return {keys[video_id]: figure for video_id, figure in figures.items()}


def write_entries(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write what ``results.json`` will say of a video."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(entries), encoding="utf-8")


class TaskEvaluator(ABC):
    """Measures answers, and says all that there is to say of them; an evaluator of metrics made of several.

    Args:
        measures: What it is made of, by name.
    """

    def __init__(self, **measures: Evaluator[Any]) -> None:
        self._measures = measures

    def reset(self) -> None:
        """Forget all videos."""
        for measure in self._measures.values():
            measure.reset()

    def state(self) -> dict[str, Any]:
        """What was kept of the videos so far."""
        return {name: measure.state() for name, measure in self._measures.items()}

    def merge(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Take the videos of several states in place of those so far."""
        states = list(states)
        for name, measure in self._measures.items():
            measure.merge(state[name] for state in states)

    @abstractmethod
    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one video, under its ``video_id``."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """The figures that are quoted: fractions, -1 where there is nothing to measure."""

    @abstractmethod
    def report(self, keys: Mapping[int, str]) -> Report:
        """All figures; ``keys`` says what the dataset calls each video."""

    @abstractmethod
    def qualities(self) -> dict[int, float]:
        """How good the answer for each video is, by its id; -1 where undefined."""


class Task(ABC):
    """What is made of the masks of a model.

    An answer is a :class:`~video_mask2former.structures.VideoInstances`, whatever the task; of panoptic and semantic
    segmentation its masks do not overlap. The same object predicts while training, in ``evaluate`` and in Python.

    The options of a task are the arguments of its constructor. A custom task is named ``module:Class``.

    Attributes:
        name: What it is called in configurations.
        metric_names: What it is measured by, that which tells the best model first.
        is_of_images: Whether it looks at each frame by itself, as a clip of one frame.
        forms: Annotations that it can be measured on.
    """

    name: ClassVar[str]
    metric_names: ClassVar[tuple[str, ...]]
    is_of_images: ClassVar[bool] = False
    forms: ClassVar[tuple[AnnotationForm, ...]] = ("instances", "panoptic", "label maps")

    @abstractmethod
    def clip_tracks(
        self, output: ClipOutput, frame_indices: Sequence[int], size: tuple[int, int], rules: AnswerRules
    ) -> tuple[Track, ...]:
        """The answer for a video that was decoded as one clip.

        Args:
            output: A batch of one clip.
            frame_indices: Position of each of its frames in the video.
            size: Height and width of the original frames.
            rules: What is asked.
        """

    @abstractmethod
    def evaluator(self, data: EvaluationSet, options: EvaluationOptions) -> TaskEvaluator:
        """A new measurement of answers for a dataset."""

    @abstractmethod
    def write(self, answer: VideoInstances, video: EvaluationVideo, data: EvaluationSet, path: Path) -> None:
        """Write the answer for one video.

        Args:
            answer: With the labels of the dataset.
            video: What it is for.
            data: The dataset.
            path: File for its entries in ``results.json``, a JSON array; other files go to ``results`` in the folder
                above. It comes last, since it says that the video is done.
        """

    @abstractmethod
    def read(
        self, results: Path, data: EvaluationSet, options: EvaluationOptions
    ) -> Callable[[EvaluationVideo], VideoInstances]:
        """Answers on disk, by video.

        Raises:
            FileNotFoundError: If something is not there.
            ValueError: If the results are wrong, or do not fit the annotations.
        """

    def window_frames(
        self, window: TrackedWindow, rules: AnswerRules, recorder: Recorder | None
    ) -> list[FrameInstances]:
        """The answer for each new frame of a window.

        Args:
            window: What the model and the tracker say.
            rules: What is asked.
            recorder: From :meth:`recorder`, which records everything that the answer for the whole video needs.
        """
        raise ValueError(f"{self.name} is for images. Videos have tasks of their own.")

    def recorder(self, size: tuple[int, int], rules: AnswerRules) -> Recorder:
        """Puts the answer for a video together while its windows come."""
        raise ValueError(f"{self.name} is for images. Videos have tasks of their own.")

    def results_path(self, folder: Path) -> Path:
        """The results in a folder, as :meth:`read` takes them."""
        return folder / "results.json"

    def join(self, entries: Iterable[dict[str, Any]], folder: Path) -> None:
        """Make one file of the entries of all videos, in the folder that the others are in."""
        with JsonArrayFile(self.results_path(folder)) as array:
            for entry in entries:
                array.append(entry)

    def pack(self, results: Path, path: Path) -> None:
        """Write the zip that servers take."""
        pack_submission(results, path)

    def is_thing(self, class_names: Sequence[str], num_classes: int) -> tuple[bool, ...]:
        """Whether each class of a model has countable objects, where no dataset says it."""
        return known_things(class_names, num_classes)

    def stuff_labels(self, rules: AnswerRules) -> frozenset[int]:
        """Classes that are drawn lightly, under the others."""
        return frozenset()

    def drawn(self, instances: VideoInstances, options: EvaluationOptions) -> VideoInstances:
        """What is drawn of an answer, or of ground truth."""
        return instances

    def check(self, data: EvaluationSet) -> None:
        """Reject a dataset that the task cannot be measured on.

        Raises:
            ValueError: If that is so.
        """
        if data.form not in self.forms:
            forms = " or ".join(self.forms)
            raise ValueError(f"{self.name} models are measured on {forms}, {data.path} has {data.form}.")
        if self.is_of_images != data.is_of_images:
            kinds = ("videos", "images")
            raise ValueError(
                f"{self.name} models are measured on {kinds[self.is_of_images]}, {data.path} has "
                f"{kinds[data.is_of_images]}."
            )

    def describe(self) -> dict[str, Any]:
        """The name and the options as plain values: two tasks are alike if these are equal."""
        return {"name": self.name, **vars(self)}
