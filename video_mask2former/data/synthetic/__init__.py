"""Synthetic videos with exact masks: textured shapes, or real objects pasted into real videos."""

from __future__ import annotations

from video_mask2former.data.synthetic.composites import AnnotatedSource
from video_mask2former.data.synthetic.generator import SceneStyle, find_photos, random_scene, write_synthetic_dataset

__all__ = ["AnnotatedSource", "SceneStyle", "find_photos", "random_scene", "write_synthetic_dataset"]
