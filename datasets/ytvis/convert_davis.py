"""The same as ``video-mask2former data convert-davis``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "convert-davis", *sys.argv[1:]]))
