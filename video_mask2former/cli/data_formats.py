"""``video-mask2former data import`` and ``data export``: annotations of other tools in, tracks for other tools out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from video_mask2former.cli.tool_parser import add_tool


def add_import(tools: argparse._SubParsersAction[Any]) -> None:
    """Add the tool that reads annotations."""
    parser = add_tool(
        tools,
        "import",
        "turn annotations of CVAT, CocoVID, SA-V, LabelMe, DAVIS or MOTS into a YouTube-VIS file",
        _import,
        "cvat street.xml instances.json --images frames/",
        "cvat xml_files/ instances.json --images videos/   # videos/NAME.mp4 becomes videos/NAME/000000.jpg, ...",
        "sa_v sav_val/ instances.json --images JPEGImages_24fps/",
        "labelme frames_with_json/ instances.json",
    )
    parser.add_argument("format", help="cvat, coco_video, sa_v, labelme, davis or mots")
    parser.add_argument("source", type=Path, help="file or folder of the annotations")
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder with the frames, or the video file, of each annotated video; names in the output are relative to "
        "it",
    )


def add_export(tools: argparse._SubParsersAction[Any]) -> None:
    """Add the tool that writes tracks."""
    parser = add_tool(
        tools,
        "export",
        "write tracks that were predicted for another tool: CVAT, MOTS PNG, Label Studio, CocoVID",
        _export,
        "cvat out/street/tracks.json street.xml",
        "mots_png out/street/tracks.json street_mots/",
    )
    parser.add_argument("format", help="cvat, mots_png, label_studio, label_studio_boxes or coco_video")
    parser.add_argument("tracks", type=Path, help="tracks.json, from predict")
    parser.add_argument("output", type=Path, help="file or folder to write")


def _import(args: argparse.Namespace) -> int:
    from video_mask2former.data.preparation.imports import import_annotations

    num_videos = import_annotations(args.format, args.source, args.images, args.output)
    print(f"{args.output}: {num_videos} video{'' if num_videos == 1 else 's'}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from video_mask2former.results import read_tracks
    from video_mask2former.results.formats import find_format

    form = find_format(args.format)
    video = read_tracks(args.tracks)
    form.write(video, args.output, None)
    print(f"{args.output}: {len(video)} track{'' if len(video) == 1 else 's'}, {form.content}")
    return 0
