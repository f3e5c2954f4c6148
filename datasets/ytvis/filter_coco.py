"""The same as ``video-mask2former data filter-coco``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "filter-coco", *sys.argv[1:]]))
