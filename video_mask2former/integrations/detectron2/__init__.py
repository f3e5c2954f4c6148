"""In place of Mask2Former's own packages in scripts for detectron2: one changed import.

::

    # from mask2former import add_maskformer2_config
    # from mask2former_video import YTVISDatasetMapper, YTVISEvaluator, add_maskformer2_video_config, ...
    from video_mask2former.integrations.detectron2 import (
        YTVISDatasetMapper, YTVISEvaluator, add_maskformer2_config, add_maskformer2_video_config, ...
    )

Importing it registers the meta-architectures ``VideoMaskFormer``, ``VideoMaskFormer_frame`` (MinVIS) and
``MaskFormer``, and the datasets of YouTube-VIS and OVIS under their published names. Configurations, checkpoints and
loops are detectron2's; what runs is the model of this package, whose operators need not be compiled.
"""

from __future__ import annotations

try:
    import detectron2  # noqa: F401
except ImportError as _error:
    raise ImportError(
        "video_mask2former.integrations.detectron2 needs detectron2, which is not installed "
        f"({_error}). It is not on PyPI: conda install -c conda-forge detectron2, or "
        "pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2. Everything else in "
        "video_mask2former works without: video-mask2former train --config-file YAML, video_mask2former.load(YAML)."
    ) from _error

from video_mask2former.integrations.detectron2.config import (
    add_maskformer2_config,
    add_maskformer2_video_config,
    add_minvis_config,
    convert_cfg,
)
from video_mask2former.integrations.detectron2.datasets import (
    load_ytvis_json,
    register_all_ovis,
    register_all_ytvis_2019,
    register_all_ytvis_2021,
    register_all_ytvis_2022,
    register_known_datasets,
    register_ytvis_instances,
)
from video_mask2former.integrations.detectron2.evaluator import YTVISEvaluator
from video_mask2former.integrations.detectron2.image_mapper import (
    COCOInstanceNewBaselineDatasetMapper,
    COCOPanopticNewBaselineDatasetMapper,
    ImageDatasetMapper,
    MaskFormerInstanceDatasetMapper,
    MaskFormerPanopticDatasetMapper,
    MaskFormerSemanticDatasetMapper,
)
from video_mask2former.integrations.detectron2.loaders import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from video_mask2former.integrations.detectron2.meta_architectures import (
    MaskFormer,
    VideoMaskFormer,
    VideoMaskFormer_frame,
)
from video_mask2former.integrations.detectron2.video_mapper import CocoClipDatasetMapper, YTVISDatasetMapper

__all__ = [
    "COCOInstanceNewBaselineDatasetMapper",
    "COCOPanopticNewBaselineDatasetMapper",
    "CocoClipDatasetMapper",
    "ImageDatasetMapper",
    "MaskFormer",
    "MaskFormerInstanceDatasetMapper",
    "MaskFormerPanopticDatasetMapper",
    "MaskFormerSemanticDatasetMapper",
    "VideoMaskFormer",
    "VideoMaskFormer_frame",
    "YTVISDatasetMapper",
    "YTVISEvaluator",
    "add_maskformer2_config",
    "add_maskformer2_video_config",
    "add_minvis_config",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "convert_cfg",
    "get_detection_dataset_dicts",
    "load_ytvis_json",
    "register_all_ovis",
    "register_all_ytvis_2019",
    "register_all_ytvis_2021",
    "register_all_ytvis_2022",
    "register_known_datasets",
    "register_ytvis_instances",
]

register_known_datasets()
