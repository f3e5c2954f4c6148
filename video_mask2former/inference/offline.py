"""Videos whose objects are known when all frames were seen, in two passes and bounded memory.

The first pass finds and follows objects and keeps their queries, which are small; what masks are made of goes to the
disk, or is made again later. When the queries of the whole video are there, a refiner looks at them, or the tracker has
its final word; then the masks are made, some frames at a time. The published code keeps all masks of the whole video in
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from video_mask2former.inference.clock import StageClock
from video_mask2former.inference.feature_spool import FeatureSpool
from video_mask2former.inference.frame_stream import IndexedFrame
from video_mask2former.inference.model_runner import ModelRunner
from video_mask2former.inference.second_pass import FeaturesAgain
from video_mask2former.inference.spooled_masks import SpooledMaskLogits
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.ops.freed_memory import return_freed_memory
from video_mask2former.refinement import QueryHistory
from video_mask2former.structures import ClipFeatures, ClipOutput, Track
from video_mask2former.structures.outputs import class_probabilities
from video_mask2former.tasks import AnswerRules, Task, TrackedWindow, VideoInstanceTask
from video_mask2former.tasks.recorder import Recorder
from video_mask2former.tasks.selection import select_probable
from video_mask2former.tracking import TrackUpdate
from video_mask2former.tracking.learned import TrackerState

# Of the second pass
FRAMES_PER_CHUNK = 8


@dataclass(frozen=True)
class _Objects:
    """What is known of the objects of a video in the end, as in :class:`ClipOutput`; embeddings may be per frame."""

    class_logits: Tensor
    class_scores: Tensor | None
    mask_embeddings: Tensor


class OfflineVideo:
    """One video through a :class:`TrackedModel` with a refiner, or with a tracker with weights.

    Args:
        runner: Of the model.
        task: What is made of its masks.
        rules: What is asked.
        clock: Told how long each stage takes.
        again: Reads the frames a second time; None: what masks are made of is kept on the disk.
    """

    def __init__(
        self,
        runner: ModelRunner,
        task: Task,
        rules: AnswerRules,
        *,
        clock: StageClock,
        again: Callable[[], Iterator[np.ndarray]] | None = None,
    ) -> None:
        self._runner = runner
        self._model = runner.tracked_model()
        self._task = task
        self._rules = rules
        self._clock = clock
        refiner, dtype = self._model.refiner, rules.settings.feature_dtype
        # what a refiner's masks are made of is half precision unless something else is said
        kept = getattr(torch, dtype) if dtype is not None else None if refiner is None else torch.float16
        self._spool = FeatureSpool(kept)
        self._again: FeaturesAgain | None = None
        if again is not None and refiner is not None:
            self._again = FeaturesAgain(again, runner.encode, refiner.source_features, FRAMES_PER_CHUNK)
        self._indices: list[int] = []
        self._sizes: tuple[tuple[int, int], tuple[int, int]] | None = None  # of the frames, without and with padding
        self._map_size: tuple[int, int] | None = None  # of the mask features

    def run(self, frames: Iterator[IndexedFrame], size: tuple[int, int]) -> tuple[Recorder, list[int]]:
        """Take in all frames, and answer window by window.

        Args:
            frames: With their index in the source, ascending.
            size: Height and width of the original frames.

        Returns:
            The recorder that has the answer, and the indices of the frames.
        """
        recorder = self._task.recorder(size, self._rules)
        objects = self._objects(frames)
        if objects is not None:
            with self._clock.measure("masks"):
                self._second_pass(objects, size, recorder)
        return recorder, self._indices

    def clip_tracks(self, frames: Iterator[IndexedFrame], size: tuple[int, int]) -> tuple[tuple[Track, ...], list[int]]:
        """Take in all frames, and answer as for one clip: what is asked of the whole video is decided over all of it.

        Returns:
            The answer, and the indices of the frames; arguments as in :meth:`run`.
        """
        objects = self._objects(frames)
        if objects is None:
            return (), []
        assert self._map_size is not None
        shape = (len(self._indices), *self._map_size)
        read = partial(self._mask_features, dtype=objects.mask_embeddings.dtype)
        output = self._output(objects, SpooledMaskLogits(objects.mask_embeddings, shape, read))
        with self._clock.measure("masks"), self._runner.inference():
            return self._task.clip_tracks(output, self._indices, size, self._rules), self._indices

    def _objects(self, frames: Iterator[IndexedFrame]) -> _Objects | None:
        """The first pass, and what follows from it; None without frames."""
        return self._tracked(frames) if self._model.refiner is None else self._refined(frames)

    def _refined(self, frames: Iterator[IndexedFrame]) -> _Objects | None:
        """Objects by the refiner."""
        assert self._model.refiner is not None
        spools = {name: FeatureSpool() for name in ("embeddings", "memory", "class_logits")}
        state: TrackerState | None = None
        for features in self._encoded(frames):
            history, state = self._runner.follow(features, state)
            spools["embeddings"].append(history.embeddings)
            if history.memory is not history.embeddings:  # without a tracker they are one
                spools["memory"].append(history.memory)
            spools["class_logits"].append(history.class_logits)
            self._keep(self._model.refiner.source_features(features), features)
        del state
        if not self._indices:
            return None
        return_freed_memory()
        parts = {name: spool.read().to(self._runner.device) for name, spool in spools.items() if len(spool)}
        parts.setdefault("memory", parts["embeddings"])
        with self._clock.measure("tracking"), self._runner.inference():
            history = QueryHistory(**parts, is_scratch=parts["memory"] is not parts["embeddings"])
            refinement = self._model.refiner.refine(history)
            scores = self._model.refined_scores(refinement.class_logits, history)
        return _Objects(refinement.class_logits, scores, refinement.mask_embeddings)

    def _tracked(self, frames: Iterator[IndexedFrame]) -> _Objects | None:
        """Objects by the tracker: the mean of its class logits, and the last of its scores."""
        embeddings, state, scores = FeatureSpool(), None, None
        total: Tensor | int = 0
        for features in self._encoded(frames):
            tracked, state = self._runner.track(features, state)
            total = total + tracked.class_logits * features.num_frames
            scores = tracked.class_scores
            embeddings.append(tracked.mask_logits.embeddings)
            self._keep(tracked.mask_logits.features, features)
        if not isinstance(total, Tensor):
            return None
        return _Objects(total / len(self._indices), scores, embeddings.read().to(total.device))

    def _encoded(self, frames: Iterator[IndexedFrame]) -> Iterator[ClipFeatures]:
        """The features of some frames at a time: whole clips of the tracker."""
        unit = self._model.online_window
        while True:
            with self._clock.measure("decode"):
                chunk = list(islice(frames, -(-self._runner.chunk_size // unit) * unit))
            if not chunk:
                return
            self._indices += [index for index, _ in chunk]
            yield self._runner.encode([image for _, image in chunk], len(chunk))

    def _keep(self, source: Tensor, features: ClipFeatures) -> None:
        self._sizes = (features.frame_size, features.padded_size)
        self._map_size = (source.shape[3], source.shape[4])
        if self._again is None:
            with self._clock.measure("masks"):
                self._spool.append(source)

    def _second_pass(self, objects: _Objects, size: tuple[int, int], recorder: Recorder) -> None:
        rows = self._reported(objects)
        embeddings = objects.mask_embeddings
        for start in range(0, len(self._indices), FRAMES_PER_CHUNK):
            stop = min(start + FRAMES_PER_CHUNK, len(self._indices))
            with self._runner.inference():
                features = self._mask_features(start, stop, embeddings.dtype)
                here = embeddings[:, start:stop] if embeddings.ndim == 4 else embeddings
                logits = MaskLogits(here.to(features.dtype), features)
            window = TrackedWindow(
                self._update(objects, logits, rows), self._output(objects, logits), self._indices[start:stop], 0, size
            )
            self._task.window_frames(window, self._rules, recorder)

    def _reported(self, objects: _Objects) -> list[int]:
        """The queries whose masks are wanted; those of instances are known by their classes alone."""
        logits = objects.class_logits[0].float().cpu()
        if not isinstance(self._task, VideoInstanceTask):
            return list(range(len(logits)))
        own = None if objects.class_scores is None else objects.class_scores[0].float().cpu()
        probabilities = class_probabilities(logits, own)
        return sorted(set(select_probable(probabilities, self._rules.settings).indices.tolist()))

    def _mask_features(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Of some frames, ``(1, T, C, h, w)``, where the model is."""
        source = self._spool.read(start, stop) if self._again is None else self._again.read(start, stop)
        source = source.to(self._runner.device, dtype)
        refiner = self._model.refiner
        return source if refiner is None else refiner.project_mask_features(source)

    def _update(self, objects: _Objects, logits: MaskLogits, rows: list[int]) -> TrackUpdate:
        class_logits = objects.class_logits[0].float().cpu()[rows]
        scores = objects.class_scores
        return TrackUpdate(
            track_ids=tuple(row + 1 for row in rows),
            query_indices=tuple(rows),
            class_logits=class_logits,
            clip_logits=class_logits,
            mask_logits=logits,
            class_scores=None if scores is None else scores[0].float().cpu()[rows],
        )

    def _output(self, objects: _Objects, logits: MaskLogits) -> ClipOutput:
        assert self._sizes is not None
        nothing = objects.class_logits
        return ClipOutput(
            objects.class_logits, logits, nothing, nothing, *self._sizes, class_scores=objects.class_scores
        )
