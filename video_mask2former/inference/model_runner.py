"""Running a model on frames: resizing, precision, chunks of frames, and what to do when memory runs out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from video_mask2former.config import InferenceSettings
from video_mask2former.config.inference import DEFAULT_SIDES
from video_mask2former.distributed import choose_device
from video_mask2former.inference.clock import StageClock
from video_mask2former.inference.feature_store import FeatureStore
from video_mask2former.inference.segmentation_model import SegmentationModel
from video_mask2former.inference.sliding_windows import SlidingWindows
from video_mask2former.ops.freed_memory import return_freed_memory
from video_mask2former.ops.resize import fit_short_side, resize_frames
from video_mask2former.refinement import QueryHistory, TrackedModel
from video_mask2former.structures import ClipFeatures, ClipOutput
from video_mask2former.tracking import LearnedTracker, Tracker
from video_mask2former.tracking.learned import TrackerState

logger = logging.getLogger(__name__)


class ModelRunner:
    """A model with everything that running it takes.

    Args:
        model: In eval mode, on the device it shall run on.
        settings: Sizes, precision and chunks.
        clock: Measures how long decoding (resizing) and the model take.

    Raises:
        ValueError: If the model is in training mode, or the features cannot be kept on the device that is wanted.

    Attributes:
        class_names: Names of the model's classes.
        device: Where the model is.
        chunk_size: Frames encoded at once; halved when memory runs out, for good.
    """

    def __init__(self, model: SegmentationModel, settings: InferenceSettings, clock: StageClock) -> None:
        if getattr(model, "training", False):
            raise ValueError("model must be in evaluation mode: call model.eval(). Training leaves results to chance.")
        self.device = device_of(model)
        short_side, max_side = getattr(model, "input_sides", DEFAULT_SIDES)
        self._short_side = settings.short_side or short_side
        self._max_side = settings.max_side or max_side
        if settings.tile_side is not None:
            model = SlidingWindows(model, settings.tile_side, settings.tile_stride)
        self._model = model
        self._settings = settings
        self._clock = clock
        self._encode: Callable[[Tensor], ClipFeatures] = model.encode
        if settings.compile:
            self._encode = torch.compile(model.encode)
        self.class_names = tuple(model.class_names)
        kept_on = settings.feature_device
        self._feature_device = None if kept_on is None else choose_device(kept_on, "feature_device")
        self.chunk_size = settings.chunk_size

    def encode(self, images: Iterable[np.ndarray], num_frames: int | None = None) -> ClipFeatures:
        """Encode frames of one clip in chunks.

        Args:
            images: uint8 RGB ``(H, W, 3)``, of one size; taken as they are needed.
            num_frames: How many there will be, if known.
        """
        store = FeatureStore(num_frames, device=self._feature_device, dtype=self._feature_dtype())
        iterator = iter(images)
        while chunk := list(islice(iterator, self.chunk_size)):
            with self._clock.measure("decode"):
                frames = self._resized(chunk)
            with self._clock.measure("model"):
                for features in self._encode_chunks(frames):
                    store.append(features)
                    del features  # before the next chunk is made
        joined = store.features()
        if joined.num_frames > self.chunk_size and self.device.type == "cpu":
            return_freed_memory()
        return joined

    @property
    def is_frame_by_frame(self) -> bool:
        """Whether the segmenter finds objects on each frame by itself, so that queries change from frame to frame."""
        return bool(getattr(self._model, "is_frame_by_frame", False))

    @property
    def has_learned_tracker(self) -> bool:
        """Whether the model's own tracker has weights."""
        return isinstance(getattr(self._model, "tracker", None), LearnedTracker)

    @property
    def has_refiner(self) -> bool:
        """Whether the model looks at whole videos."""
        return isinstance(self._model, TrackedModel) and self._model.refiner is not None

    def tracked_model(self) -> TrackedModel:
        """The model, for whoever asked :attr:`has_refiner` or :attr:`has_learned_tracker`."""
        assert isinstance(self._model, TrackedModel)
        return self._model

    def follow(self, features: ClipFeatures, state: TrackerState | None) -> tuple[QueryHistory, TrackerState | None]:
        """What the model's refiner sees of the next frames; see :meth:`TrackedModel.follow`."""
        with self._clock.measure("model"), self.inference():
            followed = self.tracked_model().follow(self._input(features), state)
            _synchronise(self.device)
        return followed

    def track(self, features: ClipFeatures, state: TrackerState | None) -> tuple[ClipOutput, TrackerState]:
        """What the model's tracker says of the next frames; see :meth:`TrackedModel.track`."""
        with self._clock.measure("model"), self.inference():
            tracked = self.tracked_model().track(self._input(features), state)
            _synchronise(self.device)
        return tracked

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """No gradients, in the precision of the settings."""
        with torch.no_grad(), self._precision():
            yield

    def begin_tracking(self) -> Tracker | None:
        """The model's own tracker for one video, None where it has none."""
        begin: Callable[[], Tracker | None] | None = getattr(self._model, "begin_tracking", None)
        return None if begin is None else begin()

    def decode_window(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """What the segmenter says of one window, for a tracker."""
        return self._decode(getattr(self._model, "decode_window", self._model.decode), features, initial_queries)

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Decode one clip, objects followed where the model follows them.

        Raises:
            MemoryError: If the clip is too long for the memory there is.
        """
        return self._decode(self._model.decode, features, initial_queries)

    def _decode(
        self, decode: Callable[..., ClipOutput], features: ClipFeatures, initial_queries: Tensor | None
    ) -> ClipOutput:
        with self._clock.measure("model"):
            try:
                with torch.no_grad(), self._precision():
                    output = decode(self._input(features), initial_queries)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise MemoryError(
                    f"a clip of {features.num_frames} frames is too long for the memory of {self.device}. Use a "
                    "shorter window, online mode, a smaller short_side, or dtype bfloat16."
                ) from error
            _synchronise(self.device)
        return output

    def _input(self, features: ClipFeatures) -> ClipFeatures:
        """Features where the model is, and in a precision that it computes in."""
        dtype = torch.float32 if self._settings.dtype == "float32" and _is_half(features) else None
        return features.to(self.device, dtype)

    def _resized(self, images: list[np.ndarray]) -> Tensor:
        """Frames as the model sees them, ``(T, 3, H, W)`` uint8."""
        size = fit_short_side(images[0].shape[:2], self._short_side, self._max_side)
        resized = [resize_frames(as_tensor(image).permute(2, 0, 1)[None], size) for image in images]
        return torch.cat(resized)

    def _encode_chunks(self, frames: Tensor) -> Iterator[ClipFeatures]:
        start = 0
        while start < len(frames):
            chunk = frames[start : start + self.chunk_size]
            try:
                with torch.no_grad(), self._precision():
                    features = self._encode(chunk[None].to(self.device))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink_chunks(error)
                continue
            yield features
            start += len(chunk)
        _synchronise(self.device)

    def _shrink_chunks(self, error: Exception) -> None:
        if self.chunk_size == 1:
            raise MemoryError(
                f"a single frame is too large for the memory of {self.device} (short side {self._short_side}, long "
                f"side at most {self._max_side}). Use a smaller short_side."
            ) from error
        self.chunk_size //= 2
        logger.warning("out of memory on %s: going on with chunks of %d frames", self.device, self.chunk_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self._settings.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self._settings.dtype))

    def _feature_dtype(self) -> torch.dtype | None:
        name = self._settings.feature_dtype
        return None if name is None else getattr(torch, name)


def as_tensor(image: np.ndarray) -> Tensor:
    """A tensor on the memory of an array; copied only where torch cannot use it (read-only, or strides below zero)."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"]))


def device_of(model: object) -> torch.device:
    """Where a model's parameters are; the CPU if it has none."""
    if isinstance(model, torch.nn.Module):
        for tensor in (*model.parameters(), *model.buffers()):
            return tensor.device
    return torch.device("cpu")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "DefaultCPUAllocator" in str(error) or "can't allocate memory" in str(error)


def _is_half(features: ClipFeatures) -> bool:
    return features.tensors()[0].dtype in (torch.float16, torch.bfloat16)


def _synchronise(device: torch.device) -> None:
    """Wait for the GPU, so that its time counts as the model's; what follows needs its results anyway."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
