"""Where a method is strong and weak: AP by length of the track, number of instances, speed, and length of the video."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf

from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.metrics.track_comparison import VideoComparison
from video_mask2former.metrics.ytvis_ap import SUMMARY_KEYS, TraitRange, average_precision, summarize

# frames on which the object is visible
TRACK_LENGTHS = {
    "1-9": TraitRange("num_frames", 0, 9),
    "10-19": TraitRange("num_frames", 10, 19),
    "20-39": TraitRange("num_frames", 20, 39),
    "40+": TraitRange("num_frames", 40, inf),
}
# mean IoU of the object's boxes on consecutive frames, with the limits of arXiv:1703.10025
MOTION_SPEEDS = {
    "slow": TraitRange("motion_iou", 0.9, 1.0),
    "medium": TraitRange("motion_iou", 0.7, 0.9),
    "fast": TraitRange("motion_iou", 0.0, 0.7),
}
# annotated objects in the video, crowds left out
INSTANCE_COUNTS = {"1": (1, 1), "2-3": (2, 3), "4-6": (4, 6), "7+": (7, inf)}


def ap_by_track_length(videos: Mapping[int, VideoComparison], num_classes: int) -> dict[str, float]:
    """AP over the objects visible on so many frames; the others, and unmatched predictions like them, are ignored."""
    return {name: average_precision(videos, num_classes, limits) for name, limits in TRACK_LENGTHS.items()}


def ap_by_motion_speed(videos: Mapping[int, VideoComparison], num_classes: int) -> dict[str, float]:
    """AP over the objects of a speed: fast is a mean IoU of consecutive boxes below 0.7, slow one above 0.9.

    Objects that are never visible on two consecutive frames have no speed and are in no range.
    """
    return {name: average_precision(videos, num_classes, limits) for name, limits in MOTION_SPEEDS.items()}


def ap_by_instance_count(videos: Mapping[int, VideoComparison], num_classes: int) -> dict[str, float]:
    """AP over the videos with so many annotated objects."""
    return {
        name: average_precision(
            {key: video for key, video in videos.items() if low <= video.num_instances <= high}, num_classes
        )
        for name, (low, high) in INSTANCE_COUNTS.items()
    }


def short_long_summary(
    videos: Mapping[int, VideoComparison], num_classes: int, long_video_ids: Collection[int]
) -> dict[str, dict[str, float]]:
    """The figures of YouTube-VIS 2022: the mean of those over its short and over its long videos.

    Args:
        videos: All videos.
        num_classes: K.
        long_video_ids: Which of them are long; the short ones are the validation set of 2021.

    Returns:
        The 12 numbers as such means (``short_long_mean``), of the short (``short_videos``) and of the long ones
        (``long_videos``). Where one half is undefined, the mean is undefined too.

    Raises:
        ValueError: If there are no long or no short videos.
    """
    is_long = set(long_video_ids) & set(videos)
    if not is_long or len(is_long) == len(videos):
        raise ValueError(
            f"expected both long and short videos, got {len(is_long)} long ones of {len(videos)}. "
            "Check the list of long videos."
        )
    short = summarize({key: video for key, video in videos.items() if key not in is_long}, num_classes)
    long = summarize({key: videos[key] for key in is_long}, num_classes)
    mean = {
        key: UNDEFINED if UNDEFINED in (short[key], long[key]) else (short[key] + long[key]) / 2 for key in SUMMARY_KEYS
    }
    return {"short_long_mean": mean, "short_videos": short, "long_videos": long}
