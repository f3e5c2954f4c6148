"""Video instance segmentation: objects with one id through the video, measured by video AP and identity measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo
from video_mask2former.metrics import (
    IdentityEvaluator,
    Report,
    YtvisApEvaluator,
    ap_by_instance_count,
    ap_by_motion_speed,
    ap_by_track_length,
    short_long_summary,
    video_qualities,
)
from video_mask2former.results import write_youtube_vis
from video_mask2former.structures import ClipOutput, FrameInstances, Track, VideoInstances
from video_mask2former.tasks.base import AnswerRules, EvaluationOptions, TaskEvaluator, TrackedWindow, by_key
from video_mask2former.tasks.instances import InstanceTask
from video_mask2former.tasks.mask_encoding import encode_clip_masks
from video_mask2former.tasks.mask_quality import quality_of
from video_mask2former.tasks.postprocess import clip_instances, output_geometry
from video_mask2former.tasks.recorder import Recorder, TrackRecorder
from video_mask2former.tasks.selection import select_probable


class VideoInstanceTask(InstanceTask):
    """Objects with one id through the video.

    As one clip, the best pairs of query and class are reported with their masks. Online, a track has on each frame the
    score and label that are known by then, and in the result those that are known at the end.
    """

    name = "instance"

    def clip_tracks(
        self, output: ClipOutput, frame_indices: Sequence[int], size: tuple[int, int], rules: AnswerRules
    ) -> tuple[Track, ...]:
        """See :func:`~video_mask2former.tasks.postprocess.clip_instances`."""
        return clip_instances(output, frame_indices, size, rules.settings)

    def recorder(self, size: tuple[int, int], rules: AnswerRules) -> Recorder:
        """Records every track that is reported, also while its score is still too low to be shown."""
        return TrackRecorder(size, rules.settings)

    def window_frames(
        self, window: TrackedWindow, rules: AnswerRules, recorder: Recorder | None
    ) -> list[FrameInstances]:
        """The tracks that the settings report, by their classes so far."""
        update = window.update
        # a frame shows each track once, whatever the settings say of the final result
        shown = select_probable(update.class_probabilities(), replace(rules.settings, one_label_per_query=True))
        rows = shown.indices.tolist()
        if recorder is not None:
            assert isinstance(recorder, TrackRecorder)
            recorder.add_update(update)
            rows += [row for row in range(len(update)) if row not in set(rows)]
        likeliest = update.class_probabilities()[rows, :-1].max(dim=1)
        quality = quality_of(rules.settings.mask_quality, len(rows))
        here = update.clip_logits[rows].softmax(dim=1).gather(1, likeliest.indices[:, None])[:, 0].tolist()
        masks = encode_clip_masks(
            window.mask_logits(rows),
            output_geometry(window.output, window.size),
            scores=likeliest.values.tolist() if rules.settings.resolve_overlaps else None,
            quality=quality,
        )
        frames = []
        for index, frame_masks in zip(window.frame_indices, masks, strict=True):
            if isinstance(recorder, TrackRecorder):
                recorder.add_frame(index)
                for row, mask, score in zip(rows, frame_masks, here, strict=True):
                    if mask is not None:
                        recorder.add_mask(update.track_ids[row], index, mask, score)
            # the masks begin with those of the shown tracks, in their order
            fields = zip(rows, shown.labels.tolist(), shown.scores.tolist(), frame_masks, strict=False)
            visible = [(update.track_ids[row], *rest) for row, *rest in fields if rest[-1] is not None]
            columns = tuple(zip(*visible, strict=True)) or ((),) * 4
            frames.append(FrameInstances(index, window.size, *columns))
        if isinstance(recorder, TrackRecorder) and quality is not None:
            recorder.add_quality([update.track_ids[row] for row in rows], quality)
        return frames

    def write(self, answer: VideoInstances, video: EvaluationVideo, data: EvaluationSet, path: Path) -> None:
        """The tracks in the form of YouTube-VIS."""
        write_youtube_vis(path, [answer], data.category_ids)

    def evaluator(self, data: EvaluationSet, options: EvaluationOptions) -> VideoEvaluation:
        """The 12 numbers of YouTube-VIS and more."""
        return VideoEvaluation(data.class_names, options)


class VideoEvaluation(TaskEvaluator):
    """All measures of video instance segmentation.

    Args:
        class_names: Classes of the dataset; labels of predictions and ground truth index them.
        options: What is measured.
    """

    def __init__(self, class_names: Sequence[str], options: EvaluationOptions | None = None) -> None:
        self._options = options or EvaluationOptions()
        is_class_agnostic = self._options.is_class_agnostic
        self._ap = YtvisApEvaluator(class_names, is_class_agnostic=is_class_agnostic)
        self._identity = IdentityEvaluator(min_score=self._options.min_score, is_class_agnostic=is_class_agnostic)
        super().__init__(ap=self._ap, identity=self._identity)

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one video."""
        self._ap.process(prediction, ground_truth)
        self._identity.process(prediction, ground_truth)

    def evaluate(self) -> dict[str, float]:
        """The 12 official numbers."""
        return self._ap.evaluate()

    def report(self, keys: Mapping[int, str]) -> Report:
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
        return Report(self.evaluate(), self._ap.per_class(), groups, {"per_video": by_key(self.qualities(), keys)})

    def qualities(self) -> dict[int, float]:
        """How good the prediction of each video is, to find the best and the worst."""
        return video_qualities(self._ap.videos, self._options.min_score)
