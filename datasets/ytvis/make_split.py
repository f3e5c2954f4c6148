"""Split a training set in a part to train on and a part to measure on, the same for everybody.

python datasets/ytvis/make_split.py datasets/ytvis_2021/train.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from video_mask2former.data.preparation.split import write_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path, help="the JSON file that is split")
    parser.add_argument("--val-share", type=float, default=0.1, help="share of the videos to measure on (0.1)")
    parser.add_argument("--seed", type=int, default=0, help="which split; 0 is the one to compare with others")
    parser.add_argument("--output", type=Path, help="folder of local_train.json and local_val.json (that of the input)")
    args = parser.parse_args()
    folder = args.output or args.annotations.parent
    files = folder / "local_train.json", folder / "local_val.json"
    split = write_split(args.annotations, *files, args.val_share, args.seed)
    print(f"{files[0]}: {len(split.train_ids)} videos\n{files[1]}: {len(split.val_ids)} videos")
    print(f"fingerprint of the validation part: {split.fingerprint}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
