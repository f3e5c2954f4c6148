"""Instance segmentation of images, measured by COCO's mask AP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo
from video_mask2former.metrics import CocoApEvaluator, Report, YtvisApEvaluator, video_qualities, without_classes
from video_mask2former.results import CocoDetectionsWriter
from video_mask2former.structures import ClipOutput, Track, VideoInstances
from video_mask2former.tasks.base import AnswerRules, EvaluationOptions, TaskEvaluator, by_key
from video_mask2former.tasks.instances import InstanceTask
from video_mask2former.tasks.postprocess import image_instances
from video_mask2former.tasks.result_files import annotated_areas, tracks_of_image


class ImageInstanceTask(InstanceTask):
    """Objects of images; a score is that of the class times the mean probability inside the mask."""

    name = "image_instance"
    is_of_images = True

    def clip_tracks(
        self, output: ClipOutput, frame_indices: Sequence[int], size: tuple[int, int], rules: AnswerRules
    ) -> tuple[Track, ...]:
        """See :func:`~video_mask2former.tasks.postprocess.image_instances`."""
        return tracks_of_image(image_instances(output, size, rules.settings), frame_indices[0])

    def write(self, answer: VideoInstances, video: EvaluationVideo, data: EvaluationSet, path: Path) -> None:
        """The instances in the form of COCO."""
        with CocoDetectionsWriter(path, data.category_ids, {0: video.video_id}) as writer:
            writer.write(answer.at_frame(0))

    def evaluator(self, data: EvaluationSet, options: EvaluationOptions) -> ImageEvaluation:
        """The 12 numbers of COCO."""
        return ImageEvaluation(data.class_names, annotated_areas(data.path), options)


class ImageEvaluation(TaskEvaluator):
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
        super().__init__(ap=self._ap, video_ap=self._video_ap)
        self._annotated_areas = annotated_areas

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one image."""
        self._video_ap.process(prediction, ground_truth)
        if self._options.is_class_agnostic:
            prediction, ground_truth = without_classes(prediction), without_classes(ground_truth)
        self._ap.process(prediction, ground_truth, self._annotated_areas)

    def evaluate(self) -> dict[str, float]:
        """The 12 numbers of COCO."""
        return self._ap.evaluate()

    def report(self, keys: Mapping[int, str]) -> Report:
        """The 12 numbers and AP per class."""
        return Report(self.evaluate(), self._ap.per_class(), samples={"per_image": by_key(self.qualities(), keys)})

    def qualities(self) -> dict[int, float]:
        """How good the prediction of each image is."""
        return video_qualities(self._video_ap.videos, self._options.min_score)
