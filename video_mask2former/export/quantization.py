"""Static quantisation of an exported model to 8-bit integers."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from video_mask2former.data.image_files import read_image
from video_mask2former.export.manifest import FRAME_STEP, graph_path, read_manifest, write_manifest
from video_mask2former.export.steps import FRAMES
from video_mask2former.messages import needs_extra
from video_mask2former.ops.resize import fit_short_side, resize_frames
from video_mask2former.video_io import open_video

MAX_SAMPLES = 64
_IMAGES = {".jpg", ".jpeg", ".png"}


def quantize_frame_step(folder: Path, output: Path, frames: Iterable[np.ndarray]) -> None:
    """Copy an ONNX export with the convolutions and matrix products of its frame step in 8-bit integers.

    Weights are scaled channel by channel, activations by the range that they had on sample frames. Window steps stay in
    float32: they are a small part of the work, and masks are products of what they give.

    Args:
        folder: An export in ONNX and float32.
        output: A folder that is there.
        frames: Sample frames as the model is given them, uint8 RGB ``(H, W, 3)``.

    Raises:
        ImportError: If onnx or onnxruntime is not installed.
        ValueError: If it is another kind of export, or there are no frames.
    """
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.calibrate import CalibrationDataReader
    except ImportError as error:
        raise needs_extra("onnx and onnxruntime", "onnx", "8-bit models are") from error
    manifest = read_manifest(folder)
    if manifest["format"] != "onnx" or manifest["precision"] != "float32":
        raise ValueError(
            f"only exports in ONNX and float32 can be quantised, {folder} is in {manifest['format']} and "
            f"{manifest['precision']}."
        )

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        """The frames one by one, as the graph takes them."""

        def __init__(self) -> None:
            self._feeds: Iterator[dict[str, np.ndarray]] = ({FRAMES: _as_input(frame)} for frame in frames)
            self.count = 0

        def get_next(self) -> dict[str, np.ndarray] | None:
            feed = next(self._feeds, None)
            self.count += feed is not None
            return feed

    samples = Samples()
    for path in folder.iterdir():
        if path != graph_path(folder, FRAME_STEP, "onnx"):
            shutil.copy(path, output / path.name)
    level = logging.getLogger().level
    quantize_static(
        str(graph_path(folder, FRAME_STEP, "onnx")),
        str(graph_path(output, FRAME_STEP, "onnx")),
        samples,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    logging.getLogger().setLevel(level)
    if not samples.count:
        raise ValueError("quantising needs sample frames, got none.")
    write_manifest(output, {**manifest, "precision": "int8"})


def sample_frames(source: str | os.PathLike[str], short_side: int, max_side: int) -> Iterator[np.ndarray]:
    """Frames spread over a video, or the images of a folder, as a model is given them; at most :data:`MAX_SAMPLES`.

    Args:
        source: Video or folder.
        short_side: What frames are resized to.
        max_side: Most that the long side may have then.

    Raises:
        FileNotFoundError: If it is not there.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _IMAGES)
        frames: Iterator[np.ndarray] = (read_image(file) for file in files[:: len(files) // MAX_SAMPLES + 1])
        yield from (_resized(frame, short_side, max_side) for frame in frames)
        return
    with open_video(path) as reader:
        step = (reader.num_frames or 0) // MAX_SAMPLES + 1
        for index, frame in enumerate(reader):
            if index // step >= MAX_SAMPLES:
                return
            if index % step == 0:
                yield _resized(frame, short_side, max_side)


def _resized(frame: np.ndarray, short_side: int, max_side: int) -> np.ndarray:
    size = fit_short_side(frame.shape[:2], short_side, max_side)
    resized = resize_frames(torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None], size)
    array: np.ndarray = resized[0].permute(1, 2, 0).numpy()
    return array


def _as_input(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame.transpose(2, 0, 1)[None])
