"""Write a synthetic dataset with exact masks: moving shapes, or real objects pasted into real videos.

python datasets/ytvis/make_synthetic.py FOLDER --videos 100
python datasets/ytvis/make_synthetic.py FOLDER --videos 100 --source IMAGES::ANNOTATIONS.json
"""

from __future__ import annotations

import argparse

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.catalog import locate_dataset
from video_mask2former.data.synthetic import AnnotatedSource, SceneStyle, find_photos, write_synthetic_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where JPEGImages and instances.json are written")
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--objects", type=int, nargs=2, default=(2, 5), metavar=("FEWEST", "MOST"))
    parser.add_argument("--sides", type=float, nargs=2, default=(0.15, 0.5), help="of objects, of the short side")
    parser.add_argument("--photos", help="folder of JPEG photographs for the background")
    parser.add_argument("--source", help="annotated dataset to take objects and backgrounds from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    paths = locate_dataset(args.source) if args.source else None
    source = AnnotatedSource(load_annotations(paths.annotation_file), paths.image_folder) if paths else None
    photos = find_photos(args.photos) if args.photos else ()
    style = SceneStyle(args.frames, tuple(args.size), tuple(args.objects), tuple(args.sides), photos, source)
    print(write_synthetic_dataset(args.folder, args.videos, style, args.seed))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
