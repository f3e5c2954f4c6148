"""Write a tracker and hand it to segment_video: an object keeps its id while its masks overlap from clip to clip.

    python examples/write_a_tracker.py
    PYTHONPATH=examples video-mask2former predict in.mp4 --output out --tracker write_a_tracker:MaskTracker

The model predicts one class and one mask for each of its queries on each clip of frames (``ClipOutput``); the tracker
says which track each query is (``TrackUpdate``). This one knows nothing of what objects look like, so that an object
that moves fast or flickers gets a new id; compare the two lists that are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import video_mask2former as vm2f
from video_mask2former.tracking import TrackUpdate, assign_by_gain, find_detections

CLIP = Path(__file__).parents[1] / "tools" / "demo_clip" / "pedestrians.mp4"
LEAST_SCORE, LEAST_IOU, PATIENCE = 0.3, 0.2, 10


@dataclass
class MaskTrack:
    """What is remembered of an object."""

    track_id: int
    mask: Tensor  # (h * w,) of 0 and 1, where it was last seen, at a quarter of the resolution
    logit_sum: Tensor  # (K + 1,), over the clips that show it
    num_clips: int
    last_frame: int


class MaskTracker:
    """One tracker follows one video; it needs these four methods."""

    def __init__(self) -> None:
        self.tracks: list[MaskTrack] = []
        self.next_id = 1

    def update(self, output: vm2f.ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Give the objects of the next clip their tracks."""
        detections = find_detections(output, LEAST_SCORE)  # of all queries, those that see something
        logits = output.mask_logits.select(detections.query_indices).dense()[0]  # (N, T, h, w)
        first, last = ((logits[:, index] > 0).flatten(1).float() for index in (0, -1))
        self.tracks = [track for track in self.tracks if frame_indices[0] - track.last_frame <= PATIENCE]
        known = first.new_zeros(len(self.tracks), first.shape[1])
        for column, track in enumerate(self.tracks):
            known[column] = track.mask
        shared = first @ known.T
        iou = shared / (first.sum(1)[:, None] + known.sum(1) - shared).clamp(min=1)
        column_of = dict(assign_by_gain(iou - LEAST_IOU))  # detection to track, one to one, where the gain is above 0
        seen: list[MaskTrack] = []
        for row, class_logits in enumerate(detections.class_logits):
            if row in column_of:
                track = self.tracks[column_of[row]]
            else:
                track = MaskTrack(self.next_id, last[row], torch.zeros_like(class_logits), 0, 0)
                self.next_id += 1
                self.tracks.append(track)
            track.mask, track.last_frame = last[row], frame_indices[-1]
            track.logit_sum, track.num_clips = track.logit_sum + class_logits, track.num_clips + 1
            seen.append(track)
        means = [track.logit_sum / track.num_clips for track in seen]
        return TrackUpdate(
            track_ids=tuple(track.track_id for track in seen),
            query_indices=tuple(detections.query_indices.tolist()),
            class_logits=torch.stack(means) if means else detections.class_logits,  # decides class and score
            clip_logits=detections.class_logits,
        )

    def next_queries(self) -> None:
        """None: the decoder starts every clip from its learned queries."""

    def state_dict(self) -> dict[str, Any]:
        """What a stream saves, so that it can be stopped and go on."""
        return {"tracks": [asdict(track) for track in self.tracks], "next_id": self.next_id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.tracks = [MaskTrack(**track) for track in state["tracks"]]
        self.next_id = state["next_id"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", default=str(CLIP))
    parser.add_argument("--model", default="demo", help="'demo', or a checkpoint of this package")
    parser.add_argument("--frames", type=int, help="stop after so many")
    args = parser.parse_args()
    model = vm2f.load(args.model)
    for tracker in ("query", MaskTracker):
        result = vm2f.segment_video(model, args.video, end=args.frames, tracker=tracker)
        print(f"{tracker if tracker == 'query' else tracker.__name__}: {len(result)} tracks")
        for track in result.tracks:
            frames, name = sorted(track.segmentations), result.class_names[track.label]
            print(f"  {track.track_id}: {name}, {len(frames)} frames from {frames[0]} to {frames[-1]}")


if __name__ == "__main__":
    main()
