"""Give a COCO instances file the classes that it shares with a video dataset.

python datasets/ytvis/filter_coco.py ytvis_2021 datasets/coco/annotations/instances_train2017.json \
    datasets/coco/annotations/coco2ytvis2021_train.json
"""

from __future__ import annotations

import argparse
import sys

from video_mask2former.data.preparation.coco_subset import SHARED_CLASSES, write_filtered_coco


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=tuple(SHARED_CLASSES), help="the video dataset")
    parser.add_argument("annotations", help="COCO instances file")
    parser.add_argument("output", help="JSON file to write")
    args = parser.parse_args()
    num_images, num_instances = write_filtered_coco(args.annotations, args.output, args.target)
    print(f"{args.output}: {num_images} images, {num_instances} instances")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
