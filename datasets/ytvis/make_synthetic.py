"""The same as ``video-mask2former data make-synthetic``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "make-synthetic", *sys.argv[1:]]))
