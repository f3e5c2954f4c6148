"""The same as ``video-mask2former data split``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "split", *sys.argv[1:]]))
