"""The same as ``video-mask2former data convert-segments``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "convert-segments", *sys.argv[1:]]))
