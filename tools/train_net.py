"""Train a model with the options people know from detectron2: the same as ``video-mask2former train``."""

from __future__ import annotations

import sys

from video_mask2former.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
