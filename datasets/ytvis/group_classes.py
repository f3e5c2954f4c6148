"""The same as ``video-mask2former data group-classes``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "group-classes", *sys.argv[1:]]))
