"""Trackers: the same id for the same object in every clip of a video."""

from __future__ import annotations

from video_mask2former.tracking.association import assign_by_gain, cosine_similarity, match_queries
from video_mask2former.tracking.base import Tracker, TrackUpdate
from video_mask2former.tracking.box_trackers import BoTSortTracker, BoxTracker, ByteTracker, OCSortTracker, SortTracker
from video_mask2former.tracking.ctvis import CTVISTracker
from video_mask2former.tracking.detections import Detections, find_detections
from video_mask2former.tracking.genvis import GenvisTracker
from video_mask2former.tracking.learned import LearnedTracker
from video_mask2former.tracking.motion import MotionTracker
from video_mask2former.tracking.overlap_stitching import OverlapTracker
from video_mask2former.tracking.query_matching import MinVISTracker, QueryTracker
from video_mask2former.tracking.query_propagation import PropagationTracker
from video_mask2former.tracking.referring_tracker import DVISPlusTracker, DVISTracker
from video_mask2former.tracking.slots import SlotTracker
from video_mask2former.tracking.track_memory import TrackRules

TRACKERS: dict[str, type[Tracker]] = {
    "query": QueryTracker,
    "overlap": OverlapTracker,
    "propagate": PropagationTracker,
    "minvis": MinVISTracker,
    "slots": SlotTracker,
    "ctvis": CTVISTracker,
    "bytetrack": ByteTracker,
    "ocsort": OCSortTracker,
    "botsort": BoTSortTracker,
    "sort": SortTracker,
    "motion": MotionTracker,
}
LEARNED_TRACKERS: dict[str, type[LearnedTracker]] = {
    "dvis": DVISTracker,
    "dvis_plus": DVISPlusTracker,
    "genvis": GenvisTracker,
}

__all__ = [
    "LEARNED_TRACKERS",
    "TRACKERS",
    "BoTSortTracker",
    "BoxTracker",
    "ByteTracker",
    "CTVISTracker",
    "DVISPlusTracker",
    "DVISTracker",
    "Detections",
    "GenvisTracker",
    "LearnedTracker",
    "MinVISTracker",
    "MotionTracker",
    "OCSortTracker",
    "OverlapTracker",
    "PropagationTracker",
    "QueryTracker",
    "SlotTracker",
    "SortTracker",
    "TrackRules",
    "TrackUpdate",
    "Tracker",
    "assign_by_gain",
    "cosine_similarity",
    "find_detections",
    "match_queries",
]
