"""Result files: writers that work while frames arrive, and readers that check what they read."""

from __future__ import annotations

from video_mask2former.results.coco_detections import CocoDetectionsWriter, read_coco_detections
from video_mask2former.results.frame_assembly import assemble_tracks, frames_of
from video_mask2former.results.json_lines import JsonLinesReader, JsonLinesWriter
from video_mask2former.results.mask_pngs import MaskPngWriter, read_mask_pngs
from video_mask2former.results.mots import MotsWriter, read_mots
from video_mask2former.results.overlaps import label_map, resolve_overlaps, without_overlaps
from video_mask2former.results.tracks_json import read_tracks, write_tracks
from video_mask2former.results.youtube_vis import (
    YoutubeVisWriter,
    pack_submission,
    read_youtube_vis,
    write_submission,
    write_youtube_vis,
)

__all__ = [
    "CocoDetectionsWriter",
    "JsonLinesReader",
    "JsonLinesWriter",
    "MaskPngWriter",
    "MotsWriter",
    "YoutubeVisWriter",
    "assemble_tracks",
    "frames_of",
    "label_map",
    "pack_submission",
    "read_coco_detections",
    "read_mask_pngs",
    "read_mots",
    "read_tracks",
    "read_youtube_vis",
    "resolve_overlaps",
    "without_overlaps",
    "write_submission",
    "write_tracks",
    "write_youtube_vis",
]
