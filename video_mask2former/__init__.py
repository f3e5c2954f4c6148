"""Video instance segmentation with Mask2Former; an image is a clip with T = 1.

::

    import video_mask2former as vm2f

    model = vm2f.load("ytvis_2019/r50", weights="model_final.pkl")
    output = model(frames)                         # (B, T, 3, H, W), RGB 0..255
    result = vm2f.segment_video(model, "in.mp4")   # tracks with stable ids
    report = vm2f.evaluate_model("runs/r50/model_best.pth", "valid.json", "frames/")
    vm2f.train("ytvis_2019/r50", "coco_r50.pkl", output="runs/r50")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from video_mask2former._version import __version__

if TYPE_CHECKING:
    from video_mask2former import ops
    from video_mask2former.api import (
        evaluate_model,
        evaluate_results,
        export_model,
        load,
        load_exported,
        train,
    )
    from video_mask2former.inference import InferenceSettings, segment_video, segment_videos, stream_video
    from video_mask2former.mask_logits import MaskLogits
    from video_mask2former.models import Segmenter, VideoMask2Former
    from video_mask2former.pretrained import from_pretrained, push_to_hub, save_pretrained
    from video_mask2former.structures import (
        ClipFeatures,
        ClipOutput,
        ClipTarget,
        FrameInstances,
        Track,
        VideoInstances,
    )

# Where each public name lives. They are imported when first used, so that `video-mask2former --help` need not wait for
# torch.
_HOME = {
    "ClipFeatures": "structures",
    "ClipOutput": "structures",
    "ClipTarget": "structures",
    "FrameInstances": "structures",
    "InferenceSettings": "inference",
    "MaskLogits": "mask_logits",
    "Segmenter": "models",
    "Track": "structures",
    "VideoInstances": "structures",
    "VideoMask2Former": "models",
    "evaluate_model": "api",
    "evaluate_results": "api",
    "export_model": "api",
    "from_pretrained": "pretrained",
    "load": "api",
    "load_exported": "api",
    "push_to_hub": "pretrained",
    "save_pretrained": "pretrained",
    "segment_video": "inference",
    "segment_videos": "inference",
    "stream_video": "inference",
    "train": "api",
}

__all__ = [
    "ClipFeatures",
    "ClipOutput",
    "ClipTarget",
    "FrameInstances",
    "InferenceSettings",
    "MaskLogits",
    "Segmenter",
    "Track",
    "VideoInstances",
    "VideoMask2Former",
    "__version__",
    "evaluate_model",
    "evaluate_results",
    "export_model",
    "from_pretrained",
    "load",
    "load_exported",
    "ops",
    "push_to_hub",
    "save_pretrained",
    "segment_video",
    "segment_videos",
    "stream_video",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "ops":
        return importlib.import_module("video_mask2former.ops")
    if name in _HOME:
        return getattr(importlib.import_module(f"video_mask2former.{_HOME[name]}"), name)
    raise AttributeError(f"module 'video_mask2former' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
