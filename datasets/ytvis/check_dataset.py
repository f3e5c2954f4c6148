"""List everything that is wrong with a dataset, and what is in it. Exits with 1 where something is wrong.

python datasets/ytvis/check_dataset.py datasets/ytvis_2021/train.json --images datasets/ytvis_2021/train/JPEGImages
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

from video_mask2former.data.preparation.check import check_dataset


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="a JSON file in the YouTube-VIS or the COCO format")
    parser.add_argument("--images", help="folder of the images; without it only the annotations are checked")
    args = parser.parse_args()
    report = check_dataset(args.annotations, args.images)
    for problem in report.problems:
        print(f"{'error' if problem.is_error else 'warning'}: {problem}")
    table = Table("class", "videos", "tracks", "crowd", "masks", "mean area")
    for item in report.classes.values():
        counts = (item.num_videos, item.num_tracks, item.num_crowd, item.num_masks)
        table.add_row(item.name, *map(str, counts), f"{item.num_pixels / max(item.num_masks, 1):.0f}")
    Console().print(table)
    num_warnings = len(report.problems) - report.num_errors
    print(
        f"{report.num_videos} videos, {report.num_frames} frames; {report.num_errors} errors, {num_warnings} warnings"
    )
    return int(report.num_errors > 0)


if __name__ == "__main__":
    sys.exit(main())
