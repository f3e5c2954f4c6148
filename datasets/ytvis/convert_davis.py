"""Convert folders of indexed PNG masks (DAVIS, YouTube-VOS) to a YouTube-VIS file.

python datasets/ytvis/convert_davis.py DAVIS/JPEGImages/480p DAVIS/Annotations/480p instances.json
"""

from __future__ import annotations

import argparse
import sys

from video_mask2former.data.annotation_format import read_json
from video_mask2former.data.preparation.convert_davis import convert_davis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder with a folder of images for each video")
    parser.add_argument("masks", help="folder with a folder of PNG masks for each video")
    parser.add_argument("output", help="JSON file to write")
    parser.add_argument("--classes", help="JSON file {video: {object number: class}}, such as davis_semantics.json")
    args = parser.parse_args()
    classes = None if args.classes is None else read_json(args.classes)
    num_videos = convert_davis(args.images, args.masks, args.output, classes)
    print(f"{args.output}: {num_videos} videos")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
