"""Exported graphs ready to run: tensors by name in, tensors by name out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from video_mask2former.export.manifest import GraphFormat
from video_mask2former.export.quiet import quiet
from video_mask2former.messages import needs_extra


class Session(ABC):
    """One graph."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs."""


class OnnxSession(Session):
    """A graph that onnxruntime runs.

    Args:
        path: The ``.onnx`` file.
        providers: Execution providers in the order of preference; None is all that this onnxruntime has.

    Raises:
        ImportError: If onnxruntime is not installed.
    """

    def __init__(self, path: Path, providers: Sequence[str] | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise needs_extra("onnxruntime", "onnx", "answers of ONNX models are") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # warnings name nodes of the graph, which say nothing to people
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=list(providers or onnxruntime.get_available_providers())
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs."""
        arrays = self._session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        return {name: torch.from_numpy(array) for name, array in zip(self._names, arrays, strict=True)}


class TorchSession(Session):
    """A graph that ``torch.export`` wrote.

    Args:
        path: The ``.pt2`` file.
        output_names: Names of its outputs.
    """

    def __init__(self, path: Path, output_names: Sequence[str]) -> None:
        with quiet():
            self._module = torch.export.load(path).module()
        self._names = tuple(output_names)

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs; inputs come in the order of the graph."""
        with torch.no_grad():
            return dict(zip(self._names, self._module(*inputs.values()), strict=True))


def open_session(path: Path, form: GraphFormat, output_names: Sequence[str]) -> Session:
    """Make a graph ready to run."""
    return OnnxSession(path) if form == "onnx" else TorchSession(path, output_names)
