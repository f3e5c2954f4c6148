"""Tensor operations that torch lacks or has only in a slow form."""

from video_mask2former.kernel_library import extension_status
from video_mask2former.ops.ms_deform_attn import ms_deform_attn
from video_mask2former.ops.point_sample import point_sample, select_uncertain_points

__all__ = ["extension_status", "ms_deform_attn", "point_sample", "select_uncertain_points"]
