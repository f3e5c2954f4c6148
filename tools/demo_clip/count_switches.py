"""Compare the tracks of the demo with boxes of its people: who is found, and how often an id changes.

make demo && .venv/bin/python tools/demo_clip/count_switches.py demo/tracks.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from video_mask2former.results.tracks_json import read_tracks
from video_mask2former.structures import FrameInstances

PEOPLE = Path(__file__).with_name("people.json")
MIN_IOU = 0.3  # of boxes: those of the people are interpolated, and arms and legs move
OLD_FIRST = 10.0  # whoever had an id on the frame before keeps it where both fit


def box_at(boxes: dict[str, list[float]], frame: int) -> np.ndarray | None:
    """A person's box, interpolated; None before the first and after the last one."""
    frames = sorted(map(int, boxes))
    if not frames[0] <= frame <= frames[-1]:
        return None
    corners = np.array([boxes[str(key)] for key in frames], float)
    return np.array([np.interp(frame, frames, corner) for corner in corners.T])


def box_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Of two boxes (x0, y0, x1, y1)."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.prod(sides.clip(min=0)))
    return shared / float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - shared)


def match(people: dict[str, np.ndarray], shown: FrameInstances, boxes: np.ndarray, last: dict[str, int]) -> dict:
    """Person to track id on one frame."""
    names = list(people)
    iou = np.array([[box_iou(people[name], box) for box in boxes] for name in names]).reshape(len(names), len(boxes))
    same = np.array([[last.get(name) == track for track in shown.track_ids] for name in names]).reshape(iou.shape)
    gain = np.where(iou >= MIN_IOU, iou + OLD_FIRST * same, 0.0)
    return {names[i]: shown.track_ids[j] for i, j in zip(*linear_sum_assignment(-gain), strict=True) if gain[i, j] > 0}


def main(path: str) -> None:
    tracks = read_tracks(path)
    annotation = json.loads(PEOPLE.read_text())["people"]
    last: dict[str, int] = {}
    counts = {name: [0, 0, 0] for name in annotation}  # in view, found, id switches
    for frame in range(tracks.num_frames):
        shown = tracks.at_frame(frame)
        boxes = {track.track_id: track.boxes_xywh()[frame] for track in tracks.tracks if frame in track.segmentations}
        corners = np.array([boxes[track] for track in shown.track_ids], float).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        people = {name: box for name in annotation if (box := box_at(annotation[name], frame)) is not None}
        found = match(people, shown, corners, last)
        for name in people:
            counts[name][0] += 1
            counts[name][1] += name in found
            counts[name][2] += name in found and last.get(name, found[name]) != found[name]
        last |= found
    for name, (in_view, num_found, switches) in counts.items():
        print(f"{name}: in view on {in_view} frames, found on {num_found}, {switches} id switches")
    print("all: in view {}, found {}, {} id switches".format(*np.sum(list(counts.values()), axis=0)))


if __name__ == "__main__":
    main(sys.argv[1])
