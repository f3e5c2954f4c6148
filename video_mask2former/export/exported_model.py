"""A model that was exported, run in place of the one it was made of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from video_mask2former.export.manifest import FRAME_STEP, QUERY_STEP, WINDOW_STEP, graph_path, read_manifest
from video_mask2former.export.sessions import Session, open_session
from video_mask2former.export.steps import FRAMES, MASK_EMBEDDINGS, MASK_FEATURES, OUTPUT_FEATURES, QUERIES
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.video_mask2former import tell_apart
from video_mask2former.structures import ClipFeatures, ClipOutput


class ExportedModel:
    """A folder of graphs that stands where a segmenter does, as in ``segment_video(model, "in.mp4")``.

    Args:
        folder: What :func:`~video_mask2former.export_model` wrote.

    Raises:
        FileNotFoundError: If it is no such folder, or one of its files is missing.
        ImportError: If what runs its graphs is not installed.
        ValueError: If its ``export.json`` is of another version or malformed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = folder = Path(folder)
        self.manifest = manifest = read_manifest(folder)
        self.class_names = tuple(manifest["class_names"])
        self.num_classes = manifest["num_classes"]
        self.num_queries = manifest["num_queries"]
        self.input_sides = manifest["input_sides"]
        self.preferred_tracker = manifest["preferred_tracker"]
        self.mask_quality = manifest["mask_quality"]
        self.online_window = manifest["online_window"]
        self.is_frame_by_frame = manifest["is_frame_by_frame"]
        outputs = {FRAME_STEP: manifest["features"], WINDOW_STEP: manifest["outputs"], QUERY_STEP: manifest["outputs"]}
        steps = [FRAME_STEP, WINDOW_STEP, *([QUERY_STEP] if manifest["propagates"] else [])]
        form = manifest["format"]
        self._sessions = {step: open_session(graph_path(folder, step, form), form, outputs[step]) for step in steps}

    def __repr__(self) -> str:
        manifest = self.manifest
        return (
            f"ExportedModel({manifest['format']}, {manifest['precision']}, {self.num_classes} classes, "
            f"{self.num_queries} queries)"
        )

    def digest(self) -> str:
        """SHA-256 of its files, which tells it from other exports."""
        digest = hashlib.sha256()
        for file in sorted(self.folder.iterdir()):
            digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    def encode(self, frames: Tensor) -> ClipFeatures:
        """The part that looks at each frame by itself.

        Args:
            frames: ``(1, T, 3, H, W)`` uint8, RGB.

        Raises:
            ValueError: If there are several clips, or frames do not fit into the size that the graphs were made for.
        """
        if frames.ndim != 5 or frames.shape[0] != 1 or frames.dtype != torch.uint8:
            raise ValueError(
                f"an exported model takes one clip (1, T, 3, H, W) uint8, got {tuple(frames.shape)} {frames.dtype}."
            )
        size = (frames.shape[3], frames.shape[4])
        padded = self._padded_size(size)
        given = self._sessions[FRAME_STEP].run({FRAMES: self._fit(frames[0], padded)})
        tensors = [given[name][None] for name in self.manifest["features"]]
        return self._template(size, padded).with_tensors(tensors)

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The part that looks at a window of frames; arguments as in :meth:`.Segmenter.decode`.

        Raises:
            ValueError: If there are queries to start from, and the model was exported without, or it was exported for
                windows of another length.
        """
        window = self.manifest["window"]
        if window is not None and features.num_frames != window:
            raise ValueError(
                f"this model was exported for windows of {window} frame, got {features.num_frames}. Run it online, "
                f"with window={window}."
            )
        step, inputs = WINDOW_STEP, {}
        if initial_queries is not None:
            step, inputs = QUERY_STEP, {QUERIES: initial_queries.contiguous()}
        session = self._session(step)
        inputs |= {
            name: tensor[0].contiguous()
            for name, tensor in zip(self.manifest["features"], features.tensors(), strict=True)
        }
        given = session.run(inputs)
        mask_features = given.pop(OUTPUT_FEATURES, features.mask_features)
        assert mask_features is not None, "either step gives mask features"
        masks = MaskLogits(given.pop(MASK_EMBEDDINGS), mask_features)
        output = ClipOutput(
            class_logits=given["class_logits"],
            mask_logits=masks,
            query_embeddings=given["query_embeddings"],
            queries=given["queries"],
            frame_size=features.frame_size,
            padded_size=features.padded_size,
            frame_class_logits=given.get("frame_class_logits"),
            frame_embeddings=given.get("frame_embeddings"),
            frame_queries=given.get("frame_queries"),
        )
        rules = {"duplicate_iou": self.manifest["duplicate_iou"], "split_share": self.manifest["split_share"]}
        return tell_apart(output, **rules)

    def _session(self, step: str) -> Session:
        if step not in self._sessions:
            raise ValueError(
                "this model was exported without queries to start from, which the tracker hands on. Export it with "
                "--propagate, or choose another tracker."
            )
        return self._sessions[step]

    def _padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        fixed, step = self.manifest["fixed_size"], self.manifest["size_divisibility"]
        if fixed is None:
            height, width = ((side + step - 1) // step * step for side in size)
            return height, width
        if size[0] > fixed[0] or size[1] > fixed[1]:
            raise ValueError(
                f"this model was exported for frames of at most {fixed[0]} x {fixed[1]}, got {size[0]} x {size[1]}. "
                "Choose inference.short_side and max_side so that frames fit, or export with another --size."
            )
        return fixed

    def _fit(self, frames: Tensor, padded: tuple[int, int]) -> Tensor:
        """Frames of the one size that a graph takes, filled up with the mean colour; any goes where none is fixed."""
        if self.manifest["fixed_size"] is None or frames.shape[2:] == padded:
            return frames.contiguous()
        fill = torch.tensor(self.manifest["fill"], dtype=torch.uint8)[:, None, None]
        filled = fill.repeat(len(frames), 1, *padded)
        filled[:, :, : frames.shape[2], : frames.shape[3]] = frames
        return filled

    def _template(self, size: tuple[int, int], padded: tuple[int, int]) -> ClipFeatures:
        """Features of these sizes that have the tensors of this model, with nothing in them."""
        nothing = torch.empty(1, 1)
        names: Sequence[str] = self.manifest["features"]
        return ClipFeatures(
            mask_features=nothing if MASK_FEATURES in names else None,
            levels=(nothing,) * sum(name.startswith("level_") for name in names),
            frame_size=size,
            padded_size=padded,
            tokens=nothing if "tokens" in names else None,
            pixel_features=nothing if "pixel_features" in names else None,
        )
