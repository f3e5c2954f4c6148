"""Models to graphs that run without this package."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from video_mask2former.export.manifest import (
    FRAME_STEP,
    MANIFEST,
    QUERY_STEP,
    VERSION,
    WINDOW_STEP,
    GraphFormat,
    Manifest,
    graph_path,
    is_exported,
    write_manifest,
)
from video_mask2former.export.quiet import quiet
from video_mask2former.export.standard_attention import standard_ms_deform_attn
from video_mask2former.export.steps import FRAMES, QUERIES, FrameStep, WindowStep, feature_names
from video_mask2former.messages import needs_extra
from video_mask2former.models import Segmenter, VideoMask2Former
from video_mask2former.refinement import TrackedModel
from video_mask2former.structures import ClipFeatures
from video_mask2former.tracking import LearnedTracker

OPSET = 20  # the first whose GridSample is that of torch in all respects
_LARGEST_WEIGHT = 2**31  # bytes
_logger = logging.getLogger(__name__)


class GraphWriter:
    """Writes the steps of a model as graphs, with sizes that may change where the model allows it.

    Args:
        model: In evaluation mode, on the CPU.
        form: ``onnx``, or ``torch`` for files of ``torch.export``.
        size: Height and width of the frames that the graphs are traced with; None is a 16:9 frame with the short side
            that the model is made for. The graphs of models on convolutional backbones take frames of any size all
            the same, those of other models frames up to this size.
        propagates: Also write the step that starts from queries of the window before.

    Raises:
        ImportError: If what writes ONNX is not installed.
        ValueError: If the model has a tracker or refiner with weights.
    """

    def __init__(
        self, model: Segmenter, *, form: GraphFormat = "onnx", size: tuple[int, int] | None = None, propagates: bool
    ) -> None:
        _check(model, form)
        self.model, self.form, self.propagates = model, form, propagates
        self.size = size or _usual_size(model)
        self.takes_any_size = isinstance(model, VideoMask2Former) and model.backbone.is_convolutional
        self.takes_any_window = isinstance(model, VideoMask2Former)

    def write(self, folder: Path) -> Manifest:
        """Write everything into a folder that is there."""
        # no size is a multiple of the other, so that nothing is taken for the same by chance
        frames = torch.randint(0, 256, (3, 3, *self.size), dtype=torch.uint8)
        with torch.no_grad(), _as_decoded(self.model), quiet():
            features = self.model.encode(frames[None])
            if not self.takes_any_window:
                features = features.frames(0, 1)
            names = feature_names(features)
            self._write_step(folder, FRAME_STEP, FrameStep(self.model), {FRAMES: frames}, names)
            outputs = self._write_windows(folder, features)
        manifest = self._manifest(features, outputs)
        write_manifest(folder, manifest)
        return manifest

    def _write_windows(self, folder: Path, features: ClipFeatures) -> tuple[str, ...]:
        named = zip(feature_names(features), features.tensors(), strict=True)
        parts = {name: part[0].contiguous() for name, part in named}
        output = self.model.decode_window(features)
        steps: dict[str, Mapping[str, Tensor]] = {WINDOW_STEP: parts}
        if self.propagates:
            steps[QUERY_STEP] = {QUERIES: output.queries.contiguous(), **parts}
        names: tuple[str, ...] = ()
        for name, inputs in steps.items():
            step = WindowStep(self.model, features, has_queries=QUERIES in inputs)
            step(*inputs.values())
            names = step.output_names
            self._write_step(folder, name, step, inputs, names)
        return names

    def _write_step(
        self, folder: Path, name: str, step: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]
    ) -> None:
        _logger.info("%s: tracing", name)
        path = graph_path(folder, name, self.form)
        dynamic = tuple(self._dynamic_axes(key) for key in inputs)
        shapes: Any = (dynamic,) if isinstance(step, WindowStep) else dynamic
        program = torch.export.export(step.eval(), tuple(inputs.values()), dynamic_shapes=shapes)
        program = program.run_decompositions(
            {torch.ops.video_mask2former.ms_deform_attn.default: standard_ms_deform_attn}
        )
        if self.form == "torch":
            torch.export.save(program, path)
            return
        _logger.info("%s: writing ONNX", name)
        written = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert written is not None
        _fold_weights(written.model)
        written.save(path)

    def _dynamic_axes(self, name: str) -> dict[int, Any]:
        """The axes of an input whose length may change: frames, and height and width where any go."""
        if name == QUERIES:
            return {}
        frames = (0,) if name == FRAMES or self.takes_any_window else ()
        sides = (2, 3) if self.takes_any_size else ()
        return {axis: torch.export.Dim.DYNAMIC for axis in (*frames, *sides)}

    def _manifest(self, features: ClipFeatures, outputs: Sequence[str]) -> Manifest:
        model = self.model
        red, green, blue = (round(value) for value in model.pixel_mean.flatten().tolist())
        return {
            "version": VERSION,
            "format": self.form,
            "precision": "float32",
            "num_classes": model.num_classes,
            "class_names": list(model.class_names),
            "num_queries": model.num_queries,
            "input_sides": model.input_sides,
            "size_divisibility": model.size_divisibility,
            "fixed_size": None if self.takes_any_size else features.padded_size,
            "fill": (red, green, blue),
            "window": None if self.takes_any_window else 1,
            "features": feature_names(features),
            "outputs": list(outputs),
            "propagates": self.propagates,
            "duplicate_iou": float(getattr(model, "duplicate_iou", 1.0)),
            "split_share": float(getattr(model, "split_share", 0.0)),
            "preferred_tracker": model.preferred_tracker,
            "mask_quality": model.mask_quality,
            "online_window": model.online_window,
            "is_frame_by_frame": bool(getattr(model, "is_frame_by_frame", False)),
        }


@contextlib.contextmanager
def export_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``target`` on success, in place of an export that was there before.

    Raises:
        ValueError: If ``target`` is there and is something else.
    """
    if target.exists() and not is_exported(target) and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} is there and no exported model (it has no {MANIFEST}); choose another folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _check(model: Segmenter, form: GraphFormat) -> None:
    if model.training:
        raise ValueError("model must be in evaluation mode: call model.eval().")
    if isinstance(model, TrackedModel) and (model.refiner is not None or isinstance(model.tracker, LearnedTracker)):
        raise ValueError(
            "a tracker or refiner with weights is not exported, only the segmenter is. Load the model without it "
            "(tracker=query refiner=null), and follow its objects by the query tracker."
        )
    if form == "onnx":
        try:
            import onnx
            import onnxscript  # noqa: F401 (torch.onnx needs it)
        except ImportError as error:
            raise needs_extra("onnx and onnxscript", "onnx", "ONNX files are") from error
        _logger.debug("onnx %s", onnx.__version__)


def _fold_weights(model: Any) -> None:
    """Fold what is computed of weights alone, such as normalisation in a convolution, and drop traces of our code."""
    from onnxscript import optimizer

    optimizer.optimize(model, input_size_limit=_LARGEST_WEIGHT, output_size_limit=_LARGEST_WEIGHT)
    for node in model.graph:
        node.metadata_props.clear()


def _usual_size(model: Segmenter) -> tuple[int, int]:
    short, long = model.input_sides
    return short, min(long, round(short * 16 / 9))


@contextlib.contextmanager
def _as_decoded(model: Segmenter) -> Iterator[None]:
    """Answers as the decoder gives them: masks are compared and taken apart outside of a graph."""
    if not isinstance(model, VideoMask2Former):
        yield
        return
    kept = model.duplicate_iou, model.split_share
    model.duplicate_iou, model.split_share = 1.0, 0.0
    try:
        yield
    finally:
        model.duplicate_iou, model.split_share = kept
