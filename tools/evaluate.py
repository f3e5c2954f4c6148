"""Measure results or a model: the same as ``video-mask2former evaluate``."""

from __future__ import annotations

import sys

from video_mask2former.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
