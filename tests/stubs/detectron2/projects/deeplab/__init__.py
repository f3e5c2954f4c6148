"""Options of the DeepLab project, which Mask2Former's configurations build on."""

from detectron2.solver import build_lr_scheduler

__all__ = ["add_deeplab_config", "build_lr_scheduler"]


def add_deeplab_config(cfg):
    """Add them."""
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    cfg.SOLVER.POLY_LR_POWER = 0.9
    cfg.SOLVER.POLY_LR_CONSTANT_ENDING = 0.0
    head = cfg.MODEL.SEM_SEG_HEAD
    head.LOSS_TYPE, head.PROJECT_FEATURES, head.PROJECT_CHANNELS = "hard_pixel_mining", ["res2"], [48]
    head.ASPP_CHANNELS, head.ASPP_DILATIONS, head.ASPP_DROPOUT = 256, [6, 12, 18], 0.1
    head.USE_DEPTHWISE_SEPARABLE_CONV = False
    resnets = cfg.MODEL.RESNETS
    resnets.RES4_DILATION, resnets.RES5_MULTI_GRID, resnets.STEM_TYPE = 1, [1, 2, 4], "deeplab"
