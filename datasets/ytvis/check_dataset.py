"""The same as ``video-mask2former data check``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "check", *sys.argv[1:]]))
