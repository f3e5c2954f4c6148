"""Turn the categories of an annotation file into a few groups.

python datasets/ytvis/group_classes.py instances.json four_classes.json             # person, animal, vehicle, object
python datasets/ytvis/group_classes.py instances.json mine.json --groups mine.yaml  # lines such as "dog: animal"
python datasets/ytvis/group_classes.py instances.json mine.json --labelled person   # not all others are annotated
"""

from __future__ import annotations

import argparse
import sys

from video_mask2former.data.preparation.group_classes import DEMO_GROUPS, read_groups, write_grouped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="JSON file in COCO or YouTube-VIS format")
    parser.add_argument("output", help="JSON file to write")
    parser.add_argument("--groups", help="YAML file: category name to group; others become 'object'")
    parser.add_argument(
        "--labelled",
        nargs="*",
        metavar="GROUP",
        help="groups of which every instance in view is annotated; training does not take others for background (all)",
    )
    args = parser.parse_args()
    groups = read_groups(args.groups) if args.groups else DEMO_GROUPS
    for name, count in write_grouped(args.annotations, args.output, groups, args.labelled).items():
        print(f"{name}: {count}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
