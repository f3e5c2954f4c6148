"""``python -m video_mask2former`` is the command line."""

from __future__ import annotations

import sys

from video_mask2former.cli import main

if __name__ == "__main__":
    sys.exit(main())
