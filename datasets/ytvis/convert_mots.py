"""Convert MOTS text annotations (KITTI MOTS, MOTSChallenge) to a YouTube-VIS file.

python datasets/ytvis/convert_mots.py KITTI_MOTS/training/image_02 KITTI_MOTS/instances_txt instances.json
"""

from __future__ import annotations

import argparse
import sys

from video_mask2former.data.preparation.convert_mots import convert_mots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder with a folder of images for each video")
    parser.add_argument("texts", help="folder of VIDEO.txt or VIDEO/gt/gt.txt files")
    parser.add_argument("output", help="JSON file to write")
    args = parser.parse_args()
    num_videos = convert_mots(args.images, args.texts, args.output)
    print(f"{args.output}: {num_videos} videos")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
