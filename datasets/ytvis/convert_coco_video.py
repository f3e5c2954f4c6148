"""Convert a file in the COCO video format to a YouTube-VIS file; the images stay where they are.

python datasets/ytvis/convert_coco_video.py annotations/train_cocoformat.json instances.json
"""

from __future__ import annotations

import argparse
import sys

from video_mask2former.data.preparation.convert_coco_video import convert_coco_video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="JSON file with videos, images that name theirs, and annotations")
    parser.add_argument("output", help="JSON file to write")
    args = parser.parse_args()
    print(f"{args.output}: {convert_coco_video(args.annotations, args.output)} videos")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
