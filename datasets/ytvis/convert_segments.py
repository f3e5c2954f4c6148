"""Convert the label pictures of COCO panoptic or ADE20K to a COCO instances file, stuff included.

python datasets/ytvis/convert_segments.py coco annotations/panoptic_val2017.json annotations/panoptic_val2017 OUT.json
python datasets/ytvis/convert_segments.py ade20k images/validation annotations/validation OUT.json
"""

from __future__ import annotations

import argparse
import sys

from video_mask2former.data.preparation.convert_segment_maps import convert_ade20k_semantic, convert_coco_panoptic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("coco", "ade20k"))
    parser.add_argument("source", help="COCO's panoptic JSON file, or ADE20K's folder of images")
    parser.add_argument("pictures", help="folder of the PNG files")
    parser.add_argument("output", help="JSON file to write")
    args = parser.parse_args()
    convert = convert_coco_panoptic if args.kind == "coco" else convert_ade20k_semantic
    print(f"{args.output}: {convert(args.source, args.pictures, args.output)} segments")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
