"""From annotations and results on disk to a report: finds out what they are, and measures what fits."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from video_mask2former.data.annotation_format import read_json
from video_mask2former.data.annotations import AnnotationSet, load_annotations
from video_mask2former.data.catalog import locate_dataset, locate_label_pictures
from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.evaluation.evaluation_page import Case, KeyT, choose_cases, write_page
from video_mask2former.evaluation.instance_evaluation import EvaluationOptions, ImageEvaluation, VideoEvaluation
from video_mask2former.evaluation.panoptic_files import PanopticFile, load_panoptic
from video_mask2former.evaluation.pixel_cases import panoptic_case, semantic_case
from video_mask2former.evaluation.pixel_evaluation import SemanticFolder, evaluate_panoptic, evaluate_semantic
from video_mask2former.evaluation.result_files import annotated_areas, annotation_kind, read_predictions
from video_mask2former.metrics import Report, without_classes
from video_mask2former.structures import VideoInstances

Task = Literal["instance", "panoptic", "semantic"]

IGNORE_LABEL = 255


@dataclass(frozen=True)
class GroundTruth:
    """What predictions are measured on; one of the three kinds of annotations is there.

    Attributes:
        class_names: The classes.
        images: Folder of the images, None if unknown.
        kind: What is annotated.
        instances: Objects in videos or images.
        panoptic: A class and an instance for every pixel.
        semantic: A class for every pixel.
    """

    class_names: tuple[str, ...]
    images: Path | None
    kind: Literal["videos", "images", "panoptic", "semantic"]
    instances: AnnotationSet | None = None
    panoptic: PanopticFile | None = None
    semantic: SemanticFolder | None = None

    @property
    def is_hidden(self) -> bool:
        """Whether only the videos are listed, and their annotations are kept by a server."""
        return self.instances is not None and not self.instances.has_annotations


@dataclass(frozen=True)
class Measurement:
    """The figures, and a function that writes a page of so many worst and so many best cases."""

    report: Report
    write_cases: Callable[[Path, int], None]


def find_ground_truth(
    annotations: str | None,
    images: str | None,
    *,
    dataset: str | None = None,
    root: str | None = None,
    classes: str | None = None,
    label_offset: int = 0,
    task: Task = "instance",
    may_be_hidden: bool = False,
) -> GroundTruth:
    """Load annotations of whatever kind.

    Args:
        annotations: A file, or a folder of label maps.
        images: Folder of the images.
        dataset: A name of the catalog, in place of ``annotations``.
        root: Folder of the catalog's datasets.
        classes: Classes of label maps: the name of a list, or a text file with a name on each line.
        label_offset: Taken off the values of label maps.
        task: What is measured on a dataset of the catalog that can be measured in several ways.
        may_be_hidden: Accept files that list videos without annotations: they can be predicted, not measured.

    Raises:
        FileNotFoundError: If something is not there.
        ValueError: If something in it is wrong.
    """
    if dataset is not None:
        pictures = locate_label_pictures(dataset, root) if task != "instance" else None
        paths = pictures or locate_dataset(dataset, root)
        annotations, images = str(paths.annotation_file), images or str(paths.image_folder)
        if paths.annotation_file.is_dir():
            classes, label_offset = "ade20k_semantic", 1  # the only one of its kind in the catalog
    assert annotations is not None
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"no folder of images {folder}.")
    if Path(annotations).is_dir():
        semantic = SemanticFolder(Path(annotations), label_offset)
        return GroundTruth(_class_list(classes), folder, "semantic", semantic=semantic)
    kind = annotation_kind(annotations)
    if kind == "panoptic":
        panoptic = load_panoptic(annotations)
        if not panoptic.categories:
            raise ValueError(f"{annotations} must list its categories, as annotation files do. Is it a result file?")
        return GroundTruth(panoptic.class_names, folder, kind, panoptic=panoptic)
    instances = load_annotations(annotations)
    if not (instances.has_annotations or may_be_hidden):
        raise ValueError(
            f"{annotations} lists {kind} without annotations, as validation sets whose annotations are hidden do. "
            "Evaluate on a local split of the training set (datasets/ytvis/make_split.py)."
        )
    return GroundTruth(instances.class_names, folder, kind, instances=instances)


def measure(truth: GroundTruth, results: Path, options: EvaluationOptions) -> Measurement:
    """Measure results on disk.

    Raises:
        FileNotFoundError: If something is not there.
        ValueError: If the results are wrong, or do not fit the annotations.
    """
    if truth.semantic is not None:
        if not results.is_dir():
            raise FileNotFoundError(f"label maps are measured against a folder of PNGs, and {results} is none.")
        labels = SemanticFolder(results)
        report = evaluate_semantic(truth.semantic, labels, truth.class_names, IGNORE_LABEL)
        semantic = functools.partial(
            semantic_case,
            truth.semantic,
            labels,
            truth.images,
            num_classes=len(truth.class_names),
            ignore_label=IGNORE_LABEL,
        )
        return Measurement(report, _page_writer(report.samples["per_image"], semantic, truth.class_names))
    if truth.panoptic is not None:
        predictions = load_panoptic(results)
        report = evaluate_panoptic(truth.panoptic, predictions)
        panoptic = functools.partial(panoptic_case, truth.panoptic, predictions, truth.images)
        [qualities] = report.samples.values()
        return Measurement(report, _page_writer(qualities, panoptic, truth.class_names))
    return _measure_instances(truth, results, options)


def long_videos(truth: GroundTruth, short_videos: str | None, long_from: int | None) -> frozenset[int] | None:
    """Ids of the long videos: those of many frames, or those that are not in the file of the short ones.

    Args:
        truth: All videos.
        short_videos: Annotation file of the short videos; videos are told by the names of their first frames.
        long_from: Least number of frames of a long video.
    """
    if short_videos is None and long_from is None:
        return None
    if truth.instances is None or (short_videos is not None and long_from is not None):
        raise ValueError("short and long videos are told apart in video annotations, by --short-videos or --long-from.")
    annotations = truth.instances
    records = [annotations[index] for index in range(len(annotations))]
    if long_from is not None:
        return frozenset(record.video_id for record in records if record.num_frames >= long_from)
    assert short_videos is not None
    try:
        short = {os.path.normpath(video["file_names"][0]) for video in read_json(short_videos)["videos"]}
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{short_videos} must list videos and their file_names, as YouTube-VIS files do.") from error
    return frozenset(record.video_id for record in records if os.path.normpath(record.file_names[0]) not in short)


def _measure_instances(truth: GroundTruth, results: Path, options: EvaluationOptions) -> Measurement:
    annotations = truth.instances
    assert annotations is not None
    evaluation: VideoEvaluation | ImageEvaluation
    if truth.kind == "videos":
        evaluation = VideoEvaluation(truth.class_names, options)
    else:
        evaluation = ImageEvaluation(truth.class_names, annotated_areas(annotations.path), options)
    predictions = read_predictions(results, annotations, is_class_agnostic=options.is_class_agnostic)
    for ground_truth in tqdm(annotations.iterate_ground_truth(), total=len(annotations), desc="measure", disable=None):
        assert ground_truth.video_id is not None
        evaluation.process(predictions.get(ground_truth.video_id, replace(ground_truth, tracks=())), ground_truth)
    index_of = {int(video_id): index for index, video_id in enumerate(annotations.packed.video_ids)}

    def draw(video_id: int, quality: float) -> Case:
        return _case(truth, annotations, index_of[video_id], predictions, quality, options)

    names = ("object",) if options.is_class_agnostic else truth.class_names
    return Measurement(evaluation.report(), _page_writer(evaluation.qualities(), draw, names))


def _page_writer(
    qualities: Mapping[KeyT, float], draw: Callable[[KeyT, float], Case], class_names: Sequence[str]
) -> Callable[[Path, int], None]:
    """A function that writes the page of worst and best cases, which are drawn one by one."""

    def write_cases(path: Path, num_cases: int) -> None:
        worst, best = ((draw(key, qualities[key]) for key in keys) for keys in choose_cases(qualities, num_cases))
        write_page(path, worst, best, class_names)

    return write_cases


def _case(
    truth: GroundTruth,
    annotations: AnnotationSet,
    index: int,
    predictions: dict[int, VideoInstances],
    quality: float,
    options: EvaluationOptions,
) -> Case:
    record, ground_truth = annotations[index], annotations.ground_truth(index)
    prediction = predictions.get(record.video_id, replace(ground_truth, tracks=()))
    shown = replace(prediction, tracks=tuple(t for t in prediction.tracks if t.score >= options.min_score))
    if options.is_class_agnostic:
        ground_truth = without_classes(ground_truth)
    paths = None if truth.images is None else tuple(truth.images / name for name in record.file_names)
    folder = os.path.dirname(record.file_names[0]) or record.file_names[0]
    return Case(f"{folder} (id {record.video_id})", quality, shown, ground_truth, paths)


def _class_list(classes: str | None) -> tuple[str, ...]:
    if classes is None:
        raise ValueError(f"label maps need the names of their classes: --classes with one of {', '.join(CLASS_NAMES)}.")
    if classes in CLASS_NAMES:
        return CLASS_NAMES[classes]
    if not Path(classes).is_file():
        raise FileNotFoundError(f"{classes} is no file, nor one of the class lists {', '.join(CLASS_NAMES)}.")
    lines: Sequence[str] = Path(classes).read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
