"""Train what comes after a frozen segmenter, with what it says of each frame recorded: for machines without a GPU.

As ``video-mask2former train``, with the same configurations, checkpoints and logs, but every frame goes through the
segmenter once only. It pays off where frames come again as they are: a few videos, one size, no flips. ``--help``.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from recorded_frames import RecordedSegmenter

from video_mask2former.atomic import atomic_path
from video_mask2former.engine import CheckpointFolder
from video_mask2former.recipes.source import read_config
from video_mask2former.recipes.training import build_trainer
from video_mask2former.refinement import TrackedModel


def main() -> None:
    """Train, and keep the records for the next stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--records", type=Path, help="file of records, read if it is there and written at the end")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    overrides = ["data.flip_probability=0", "training.evaluate=false", *args.overrides]
    state = CheckpointFolder(args.output).load_latest()  # of this run, where it was stopped
    trainer = build_trainer(
        read_config(args.config, overrides), args.output, torch.device("cpu"), has_state=state is not None
    )
    if state is not None:
        trainer.load_state_dict(state)
    assert isinstance(trainer.model, TrackedModel)
    has_records = args.records is not None and args.records.exists()
    segmenter = RecordedSegmenter(trainer.model, torch.load(args.records) if has_records else {})
    trainer.train()
    if args.records is not None:
        with atomic_path(args.records) as temporary:
            torch.save(segmenter.records, temporary)


if __name__ == "__main__":
    main()
