"""``video-mask2former data``: check, split, import, convert, filter and make datasets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from video_mask2former.cli.data_formats import add_export, add_import
from video_mask2former.cli.tool_parser import add_tool


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command, with a command of its own for each tool, to the command line."""
    parser = subparsers.add_parser(
        "data",
        help="check, split, import, convert or make a dataset",
        description="Tools for datasets in the YouTube-VIS and the COCO format.",
    )
    tools = parser.add_subparsers(title="tools", required=True, metavar="TOOL")
    for add in (
        *(_add_check, _add_split, add_import, add_export, _add_conversions),
        *(_add_filter_coco, _add_group_classes, _add_synthetic),
    ):
        add(tools)


def _add_check(tools: argparse._SubParsersAction[Any]) -> None:
    parser = add_tool(
        tools,
        "check",
        "list every problem of a dataset, and what it holds of each class; exits with 1 if something is wrong",
        _check,
        "datasets/ytvis_2021/train.json --images datasets/ytvis_2021/train/JPEGImages",
    )
    parser.add_argument("annotations", help="JSON file in the YouTube-VIS or the COCO format")
    parser.add_argument("--images", metavar="DIR", help="folder of the images; without it only annotations are checked")


def _check(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from video_mask2former.cli import MAX_LINE
    from video_mask2former.data.preparation.check import check_dataset
    from video_mask2former.messages import printable

    report = check_dataset(args.annotations, args.images)
    for problem in report.problems:
        print(f"{'error' if problem.is_error else 'warning'}: {printable(str(problem), MAX_LINE)}")
    table = Table("class", "videos", "tracks", "crowd", "masks", "mean area")
    for item in report.classes.values():
        counts = (item.num_videos, item.num_tracks, item.num_crowd, item.num_masks)
        table.add_row(Text(printable(item.name)), *map(str, counts), f"{item.num_pixels / max(item.num_masks, 1):.0f}")
    Console().print(table)
    num_warnings = len(report.problems) - report.num_errors
    size = f"{report.num_videos} videos, {report.num_frames} frames"
    print(f"{size}; {report.num_errors} errors, {num_warnings} warnings")
    return int(report.num_errors > 0)


def _add_split(tools: argparse._SubParsersAction[Any]) -> None:
    parser = add_tool(
        tools,
        "split",
        "split a training set in a part to train on and a part to measure on, the same for everybody",
        _split,
        "datasets/ytvis_2021/train.json",
    )
    parser.add_argument("annotations", type=Path, help="JSON file that is split")
    parser.add_argument(
        "--val-share", type=float, default=0.1, metavar="X", help="share of the videos to measure on (default: 0.1)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="which split; 0, the default, is the one to compare with others",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of local_train.json and local_val.json (default: the input's)",
    )


def _split(args: argparse.Namespace) -> int:
    from video_mask2former.data.preparation.split import write_split

    folder = args.output or args.annotations.parent
    files = folder / "local_train.json", folder / "local_val.json"
    split = write_split(args.annotations, *files, args.val_share, args.seed)
    print(f"{files[0]}: {len(split.train_ids)} videos\n{files[1]}: {len(split.val_ids)} videos")
    print(f"fingerprint of the validation part: {split.fingerprint}")
    return 0


def _add_conversions(tools: argparse._SubParsersAction[Any]) -> None:
    parser = add_tool(
        tools,
        "convert-davis",
        "convert folders of indexed PNG masks (DAVIS, YouTube-VOS) to a YouTube-VIS file",
        _convert_davis,
        "DAVIS/JPEGImages/480p DAVIS/Annotations/480p instances.json",
    )
    parser.add_argument("images", help="folder with a folder of images for each video")
    parser.add_argument("masks", help="folder with a folder of PNG masks for each video")
    parser.add_argument("output", help="JSON file to write")
    parser.add_argument("--classes", help="JSON file {video: {object number: class}}, such as davis_semantics.json")
    parser = add_tool(
        tools,
        "convert-mots",
        "convert MOTS text annotations (KITTI MOTS, MOTSChallenge) to a YouTube-VIS file",
        _convert_mots,
        "KITTI_MOTS/training/image_02 KITTI_MOTS/instances_txt instances.json",
    )
    parser.add_argument("images", help="folder with a folder of images for each video")
    parser.add_argument("texts", help="folder of VIDEO.txt or VIDEO/gt/gt.txt files")
    parser.add_argument("output", help="JSON file to write")
    parser = add_tool(
        tools,
        "convert-coco-video",
        "convert a file in the COCO video format to a YouTube-VIS file; the images stay where they are",
        _convert_coco_video,
        "annotations/train_cocoformat.json instances.json",
    )
    parser.add_argument("annotations", help="JSON file with videos, images that name theirs, and annotations")
    parser.add_argument("output", help="JSON file to write")
    parser = add_tool(
        tools,
        "convert-segments",
        "convert the label pictures of COCO panoptic, ADE20K or Cityscapes to a COCO instances file, stuff included",
        _convert_segments,
        "coco annotations/panoptic_val2017.json annotations/panoptic_val2017 OUT.json",
        "ade20k images/validation annotations/validation OUT.json",
        "cityscapes leftImg8bit/val gtFine/val gtFine_val_segments.json",
    )
    parser.add_argument("kind", choices=("coco", "ade20k", "cityscapes"))
    parser.add_argument("source", help="COCO's panoptic JSON file, or the folder of images")
    parser.add_argument("pictures", help="folder of the PNG files")
    parser.add_argument("output", help="JSON file to write")
    parser = add_tool(
        tools,
        "convert-panoptic-videos",
        "convert VIPSeg, VSPW or KITTI-STEP to a YouTube-VIS file to train on, stuff included",
        _convert_panoptic_videos,
        "VIPSeg_720P/panoptic_gt_VIPSeg_train.json VIPSeg_720P/images panoptic_gt_VIPSeg_train_segments.json",
        "VSPW_480p/train.txt VSPW_480p/data train_segments.json",
        "panoptic_maps/train training/image_02 kitti_step_train.json",
    )
    parser.add_argument("annotations", help="JSON file of VIPSeg, list of videos of VSPW, folder of maps of KITTI-STEP")
    parser.add_argument("images", help="folder of the images")
    parser.add_argument("output", help="JSON file to write")


def _convert_davis(args: argparse.Namespace) -> int:
    from video_mask2former.data.annotation_format import read_json
    from video_mask2former.data.preparation.convert_davis import convert_davis

    classes = None if args.classes is None else read_json(args.classes)
    print(f"{args.output}: {convert_davis(args.images, args.masks, args.output, classes)} videos")
    return 0


def _convert_mots(args: argparse.Namespace) -> int:
    from video_mask2former.data.preparation.convert_mots import convert_mots

    print(f"{args.output}: {convert_mots(args.images, args.texts, args.output)} videos")
    return 0


def _convert_coco_video(args: argparse.Namespace) -> int:
    from video_mask2former.data.preparation.convert_coco_video import convert_coco_video

    print(f"{args.output}: {convert_coco_video(args.annotations, args.output)} videos")
    return 0


def _convert_panoptic_videos(args: argparse.Namespace) -> int:
    from video_mask2former.data.evaluation_sets import open_evaluation_set
    from video_mask2former.data.preparation.convert_panoptic_videos import convert_kitti_step, convert_labelled_videos

    if Path(args.annotations).is_dir():
        num_videos = convert_kitti_step(args.images, args.annotations, args.output)
    else:
        num_videos = convert_labelled_videos(open_evaluation_set(args.annotations, args.images), args.output)
    print(f"{args.output}: {num_videos} videos")
    return 0


def _convert_segments(args: argparse.Namespace) -> int:
    from video_mask2former.data.preparation import convert_segment_maps as convert

    kinds = {
        "coco": convert.convert_coco_panoptic,
        "ade20k": convert.convert_ade20k_semantic,
        "cityscapes": convert.convert_cityscapes_semantic,
    }
    print(f"{args.output}: {kinds[args.kind](args.source, args.pictures, args.output)} segments")
    return 0


def _add_filter_coco(tools: argparse._SubParsersAction[Any]) -> None:
    parser = add_tool(
        tools,
        "filter-coco",
        "give a COCO instances file the classes that it shares with a video dataset",
        _filter_coco,
        "ytvis_2021 coco/annotations/instances_train2017.json coco/annotations/coco2ytvis2021_train.json",
    )
    parser.add_argument("target", help="the video dataset: ytvis_2019, ytvis_2021 or ovis")
    parser.add_argument("annotations", help="COCO instances file")
    parser.add_argument("output", help="JSON file to write")


def _filter_coco(args: argparse.Namespace) -> int:
    from video_mask2former.data.preparation.coco_subset import write_filtered_coco

    num_images, num_instances = write_filtered_coco(args.annotations, args.output, args.target)
    print(f"{args.output}: {num_images} images, {num_instances} instances")
    return 0


def _add_group_classes(tools: argparse._SubParsersAction[Any]) -> None:
    parser = add_tool(
        tools,
        "group-classes",
        "turn the categories of an annotation file into a few groups (default: person, animal, vehicle, object)",
        _group_classes,
        "instances.json four_classes.json",
        'instances.json mine.json --groups mine.yaml  # lines such as "dog: animal"',
        "instances.json mine.json --labelled person   # not all others are annotated",
    )
    parser.add_argument("annotations", help="JSON file in COCO or YouTube-VIS format")
    parser.add_argument("output", help="JSON file to write")
    parser.add_argument("--groups", metavar="YAML", help="category name to group; others become 'object'")
    parser.add_argument(
        "--labelled",
        nargs="*",
        metavar="GROUP",
        help="groups of which every instance in view is annotated; training does not take others for background "
        "(default: all)",
    )


def _group_classes(args: argparse.Namespace) -> int:
    from video_mask2former.data.preparation.group_classes import DEMO_GROUPS, read_groups, write_grouped
    from video_mask2former.messages import printable

    groups = read_groups(args.groups) if args.groups else DEMO_GROUPS
    for name, count in write_grouped(args.annotations, args.output, groups, args.labelled).items():
        print(f"{printable(name)}: {count}")
    return 0


def _add_synthetic(tools: argparse._SubParsersAction[Any]) -> None:
    parser = add_tool(
        tools,
        "make-synthetic",
        "write a dataset with exact masks: moving shapes, or real objects pasted into real videos",
        _make_synthetic,
        "FOLDER --videos 100",
        "FOLDER --videos 100 --source IMAGES::ANNOTATIONS.json",
    )
    parser.add_argument("folder", help="where JPEGImages and instances.json are written")
    numbers = (("videos", 20), ("frames", 12), ("seed", 0))
    for name, default in numbers:
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"), help="default: 240 320"
    )
    parser.add_argument(
        "--objects", type=int, nargs=2, default=(2, 5), metavar=("FEWEST", "MOST"), help="of a video (default: 2 5)"
    )
    parser.add_argument(
        "--sides",
        type=float,
        nargs=2,
        default=(0.15, 0.5),
        metavar=("LEAST", "MOST"),
        help="of objects, as shares of the short side of the frame (default: 0.15 0.5)",
    )
    parser.add_argument("--photos", metavar="DIR", help="folder of JPEG photographs for the background")
    parser.add_argument("--source", metavar="DATASET", help="annotated dataset to take objects and backgrounds from")
    parser.add_argument(
        "--stuff", action="store_true", help="backgrounds of painted sky, grass, water and bricks, annotated as stuff"
    )
    parser.add_argument(
        "--plain", action="store_true", help="shapes of one colour each, whose class only the outline tells"
    )
    parser.add_argument(
        "--crossing",
        action="store_true",
        help="objects of one class that meet, cover one another, leave and return: a test of trackers",
    )


def _make_synthetic(args: argparse.Namespace) -> int:
    from video_mask2former.data.annotations import load_annotations
    from video_mask2former.data.catalog import locate_dataset
    from video_mask2former.data.synthetic import AnnotatedSource, SceneStyle, find_photos, write_synthetic_dataset

    paths = locate_dataset(args.source) if args.source else None
    source = AnnotatedSource(load_annotations(paths.annotation_file), paths.image_folder) if paths else None
    photos = find_photos(args.photos) if args.photos else ()
    style = SceneStyle(
        args.frames,
        tuple(args.size),
        tuple(args.objects),
        tuple(args.sides),
        photos,
        source,
        has_stuff=args.stuff,
        has_plain_shapes=args.plain,
        is_crossing=args.crossing,
    )
    print(write_synthetic_dataset(args.folder, args.videos, style, args.seed))
    return 0
