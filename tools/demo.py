"""Run the small model that ships with the project on a short clip; the pictures go to demo/."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from video_mask2former.cli import main

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "tools" / "demo_clip" / "pedestrians.mp4"


def run_demo(folder: Path) -> int:
    """Predict the clip and leave its files right in ``folder``."""
    with tempfile.TemporaryDirectory() as work:
        status = main(["predict", str(CLIP), "--output", work, *sys.argv[1:]])
        if status:
            return status
        shutil.copytree(Path(work) / CLIP.stem, folder, dirs_exist_ok=True)
    for name in ("overlay.mp4", "viewer.html", "contact_sheet.png", "tracks.json", "results.json"):
        print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(run_demo(ROOT / "demo"))
