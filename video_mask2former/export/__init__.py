"""Models as ONNX files or files of ``torch.export``, and such files run in place of the model."""

from video_mask2former.export.exported_model import ExportedModel
from video_mask2former.export.manifest import GraphFormat, Manifest, is_exported, read_manifest
from video_mask2former.export.writer import GraphWriter, export_folder

__all__ = ["ExportedModel", "GraphFormat", "GraphWriter", "Manifest", "export_folder", "is_exported", "read_manifest"]
