"""Pictures of results: overlays on frames, and a contact sheet of a whole video."""

from __future__ import annotations

from video_mask2former.visualization.colors import track_color
from video_mask2former.visualization.contact_sheet import ContactSheet
from video_mask2former.visualization.mask_annotator import MaskAnnotator

__all__ = ["ContactSheet", "MaskAnnotator", "track_color"]
