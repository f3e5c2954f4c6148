"""Videos through a model with a refiner, in two passes and bounded memory.

The first pass finds and follows objects and keeps their queries, which are small; what masks are made of goes to the
disk. When the refiner has seen the queries of the whole video, the second pass makes the masks of the objects that are
reported, some frames at a time. The published code keeps all masks of the whole video in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from video_mask2former.inference.clock import StageClock
from video_mask2former.inference.feature_spool import FeatureSpool
from video_mask2former.inference.frame_stream import IndexedFrame
from video_mask2former.inference.model_runner import ModelRunner
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.refinement import QueryHistory, Refinement
from video_mask2former.refinement.base import HistoryCollector
from video_mask2former.structures import ClipFeatures, ClipOutput
from video_mask2former.structures.outputs import class_probabilities
from video_mask2former.tasks import AnswerRules, Task, TrackedWindow, VideoInstanceTask
from video_mask2former.tasks.recorder import Recorder
from video_mask2former.tasks.selection import select_probable
from video_mask2former.tracking import TrackUpdate
from video_mask2former.tracking.learned import TrackerState

# Of the second pass
FRAMES_PER_CHUNK = 8


class OfflineVideo:
    """One video through a model with a refiner.

    Args:
        runner: Of a :class:`TrackedModel` with a refiner.
        task: What is made of its masks.
        rules: What is asked.
        clock: Told how long each stage takes.
    """

    def __init__(self, runner: ModelRunner, task: Task, rules: AnswerRules, *, clock: StageClock) -> None:
        self._runner = runner
        self._model, self._refiner = runner.offline_parts()
        self._task = task
        self._rules = rules
        self._clock = clock
        dtype = rules.settings.feature_dtype
        self._spool = FeatureSpool(torch.float16 if dtype is None else getattr(torch, dtype))
        self._indices: list[int] = []
        self._sizes: tuple[tuple[int, int], tuple[int, int]] | None = None  # of the frames, without and with padding

    def run(self, frames: Iterator[IndexedFrame], size: tuple[int, int]) -> tuple[Recorder, list[int]]:
        """Take in all frames.

        Args:
            frames: With their index in the source, ascending.
            size: Height and width of the original frames.

        Returns:
            The recorder that has the answer, and the indices of the frames.
        """
        recorder = self._task.recorder(size, self._rules)
        collector = HistoryCollector()
        for part in self._first_pass(frames):
            collector.append(part)
        if not len(collector):
            return recorder, []
        history = collector.joined()
        with self._clock.measure("tracking"), self._runner.inference():
            refinement = self._refiner.refine(history)
            scores = self._model.refined_scores(refinement.class_logits, history)
        del history
        with self._clock.measure("masks"):
            self._second_pass(refinement, scores, size, recorder)
        return recorder, self._indices

    def _first_pass(self, frames: Iterator[IndexedFrame]) -> Iterator[QueryHistory]:
        state: TrackerState | None = None
        while True:
            with self._clock.measure("decode"):
                chunk = list(islice(frames, self._runner.chunk_size))
            if not chunk:
                return
            features = self._runner.encode([image for _, image in chunk], len(chunk))
            history, state = self._runner.follow(features, state)
            self._keep(features)
            self._indices += [index for index, _ in chunk]
            yield history

    def _keep(self, features: ClipFeatures) -> None:
        self._sizes = (features.frame_size, features.padded_size)
        with self._clock.measure("masks"):
            self._spool.append(self._refiner.source_features(features))

    def _second_pass(
        self, refinement: Refinement, scores: Tensor | None, size: tuple[int, int], recorder: Recorder
    ) -> None:
        rows = self._reported(refinement, scores)
        for start in range(0, len(self._indices), FRAMES_PER_CHUNK):
            stop = min(start + FRAMES_PER_CHUNK, len(self._indices))
            with self._runner.inference():
                logits = self._mask_logits(refinement.mask_embeddings, start, stop)
            output = self._output(refinement, logits)
            window = TrackedWindow(
                self._update(refinement, scores, logits, rows), output, self._indices[start:stop], 0, size
            )
            self._task.window_frames(window, self._rules, recorder)

    def _reported(self, refinement: Refinement, scores: Tensor | None) -> list[int]:
        """The queries whose masks are wanted; those of instances are known by their classes alone."""
        logits = refinement.class_logits[0].float().cpu()
        if not isinstance(self._task, VideoInstanceTask):
            return list(range(len(logits)))
        own = None if scores is None else scores[0].float().cpu()
        probabilities = class_probabilities(logits, own)
        return sorted(set(select_probable(probabilities, self._rules.settings).indices.tolist()))

    def _mask_logits(self, embeddings: Tensor, start: int, stop: int) -> MaskLogits:
        source = self._spool.read(start, stop).to(self._runner.device, embeddings.dtype)
        features = self._refiner.project_mask_features(source)
        here = embeddings[:, start:stop] if embeddings.ndim == 4 else embeddings
        return MaskLogits(here.to(features.dtype), features)

    def _update(
        self, refinement: Refinement, scores: Tensor | None, logits: MaskLogits, rows: list[int]
    ) -> TrackUpdate:
        class_logits = refinement.class_logits[0].float().cpu()[rows]
        return TrackUpdate(
            track_ids=tuple(row + 1 for row in rows),
            query_indices=tuple(rows),
            class_logits=class_logits,
            clip_logits=class_logits,
            mask_logits=logits,
            class_scores=None if scores is None else scores[0].float().cpu()[rows],
        )

    def _output(self, refinement: Refinement, logits: MaskLogits) -> ClipOutput:
        assert self._sizes is not None
        nothing = refinement.class_logits
        return ClipOutput(refinement.class_logits, logits, nothing, nothing, *self._sizes)
