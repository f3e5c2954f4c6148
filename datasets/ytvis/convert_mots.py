"""The same as ``video-mask2former data convert-mots``."""

import sys

from video_mask2former.cli import main

sys.exit(main(["data", "convert-mots", *sys.argv[1:]]))
