"""Every kind of file that the package reads: a sound one of each, how it is damaged, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from checkpoint_formats import (
    LegacyTorchCheckpoint,
    PickledCheckpoint,
    SafetensorsCheckpoint,
    TorchCheckpoint,
    TrainingLog,
    TrainingState,
)
from config_formats import Detectron2Yaml, HuggingFaceFolder, Overrides, PredictConfig, YamlConfig
from media_formats import Images, Names, PredictVideos, Videos
from result_formats import (
    Annotations,
    DatasetTools,
    Detections,
    Evaluation,
    FramesLines,
    ImageAnnotations,
    ImageEvaluation,
    MaskPngs,
    MotsText,
    PanopticFiles,
    ResultsJson,
    TracksJson,
    ZippedResults,
)
from samples import Case

FORMATS: dict[str, Callable[[Path], Case]] = {
    "results": ResultsJson,
    "detections": Detections,
    "tracks": TracksJson,
    "frames": FramesLines,
    "mots": MotsText,
    "mask_pngs": MaskPngs,
    "annotations": Annotations,
    "image_annotations": ImageAnnotations,
    "evaluate": Evaluation,
    "evaluate_images": ImageEvaluation,
    "zip": ZippedResults,
    "panoptic": PanopticFiles,
    "yaml": YamlConfig,
    "predict_config": PredictConfig,
    "overrides": Overrides,
    "detectron2": Detectron2Yaml,
    "huggingface": HuggingFaceFolder,
    "torch": TorchCheckpoint,
    "legacy_torch": LegacyTorchCheckpoint,
    "pickle": PickledCheckpoint,
    "safetensors": SafetensorsCheckpoint,
    "training_state": TrainingState,
    "training_log": TrainingLog,
    "images": Images,
    "videos": Videos,
    "predict": PredictVideos,
    "names": Names,
    "dataset_tools": DatasetTools,
}
