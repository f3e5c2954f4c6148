"""Results and measures of videos behind detectron2's interface of evaluators."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from video_mask2former.atomic import atomic_path
from video_mask2former.data.annotations import load_annotations
from video_mask2former.metrics import YtvisApEvaluator
from video_mask2former.rle import encode_masks
from video_mask2former.structures import Track

logger = logging.getLogger(__name__)

_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10")


class YTVISEvaluator(DatasetEvaluator):
    """Writes ``results.json`` for the server, and measures AP and AR where the annotations are there.

    The figures are in percent, as detectron2's are.

    Args:
        dataset_name: Name in detectron2's catalog; its metadata must have the ``json_file``.
        tasks: Not used; published scripts pass their ``cfg``.
        distributed: Collect the results of all processes in the first.
        output_dir: Folder of ``instances_predictions.pth`` and ``results.json``; None writes neither.
        use_fast_impl: Not used: there is one implementation, which agrees with the official one.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: object = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        use_fast_impl: bool = True,
    ) -> None:
        self._metadata = MetadataCatalog.get(dataset_name)
        self._annotations = load_annotations(self._metadata.json_file)
        self._distributed = distributed
        self._folder = None if output_dir is None else Path(output_dir)
        self._predictions: list[dict[str, Any]] = []

    def reset(self) -> None:
        """Forget all videos."""
        self._predictions = []

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Mapping[str, Any]) -> None:
        """Take in the result of one video.

        Args:
            inputs: A batch of one video.
            outputs: As :class:`VideoMaskFormer` gives them.

        Raises:
            ValueError: If it is not one video.
        """
        if len(inputs) != 1:
            raise ValueError(f"videos are evaluated one at a time, got a batch of {len(inputs)}.")
        found = zip(outputs["pred_scores"], outputs["pred_labels"], outputs["pred_masks"], strict=True)
        for score, label, masks in found:
            self._predictions.append(
                {
                    "video_id": inputs[0]["video_id"],
                    "score": float(score),
                    "category_id": int(label),
                    "segmentations": [dict(rle) for rle in encode_masks(np.asarray(masks, bool))],
                }
            )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """The figures under ``segm``; empty where there is nothing to measure, and in all processes but the first."""
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = list(itertools.chain.from_iterable(comm.gather(predictions, dst=0)))
            if not comm.is_main_process():
                return {}
        if not predictions:
            logger.warning("there are no predictions to evaluate")
            return {}
        if self._folder is not None:
            self._write(predictions, self._folder)
        if not self._annotations.has_annotations:
            logger.info("the annotations of this dataset are hidden: results.json is for its server")
            return {}
        return OrderedDict(segm=self._measure(predictions))

    def _write(self, predictions: list[dict[str, Any]], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "instances_predictions.pth") as temporary:
            torch.save(predictions, temporary)
        ids = self._annotations.category_ids
        results = [prediction | {"category_id": ids[prediction["category_id"]]} for prediction in predictions]
        with atomic_path(folder / "results.json") as temporary:
            temporary.write_text(json.dumps(results), encoding="utf-8")

    def _measure(self, predictions: list[dict[str, Any]]) -> dict[str, float]:
        evaluator = YtvisApEvaluator(self._annotations.class_names)
        of_video: dict[int, list[dict[str, Any]]] = {}
        for prediction in predictions:
            of_video.setdefault(prediction["video_id"], []).append(prediction)
        for truth in self._annotations.iterate_ground_truth():
            assert truth.video_id is not None
            found = enumerate(of_video.get(truth.video_id, []), start=1)
            tracks = tuple(_track(index, prediction) for index, prediction in found)
            evaluator.process(dataclasses.replace(truth, tracks=tracks), truth)
        figures = evaluator.evaluate()
        measured = {name: _percent(figures[name]) for name in _METRICS}
        measured |= {f"AP-{name}": _percent(value) for name, value in evaluator.per_class().items()}
        logger.info("%s", "  ".join(f"{name} {measured[name]:.2f}" for name in _METRICS))
        return measured


def _track(track_id: int, found: Mapping[str, Any]) -> Track:
    return Track(track_id, found["category_id"], found["score"], dict(enumerate(found["segmentations"])))


def _percent(value: float) -> float:
    return float("nan") if value < 0 else 100 * value
