"""Find and track the objects of videos: the same as ``video-mask2former predict``."""

from __future__ import annotations

import sys

from video_mask2former.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
