"""The same as ``video-mask2former data convert-coco-video``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "convert-coco-video", *sys.argv[1:]]))
