"""Find and track the objects of a video; read ids, labels and masks; write pictures and JSON.

    python examples/segment_a_video.py                  # the clip that comes with the project
    python examples/segment_a_video.py my_video.mp4

It shows the two ways to run a model on a video: ``segment_video`` gives all tracks at the end, ``stream_video`` gives
the objects of each frame while the video is read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import video_mask2former as vm2f
from video_mask2former.results import write_tracks
from video_mask2former.rle import decode_rle
from video_mask2former.video_io import VideoWriter, open_video
from video_mask2former.visualization import ContactSheet, MaskAnnotator

CLIP = Path(__file__).parents[1] / "tools" / "demo_clip" / "pedestrians.mp4"


def print_tracks(result: vm2f.VideoInstances) -> None:
    """Each track: its id, its class, and on which frames it has which mask."""
    for track in result.tracks:
        first = min(track.segmentations)
        mask = decode_rle(track.segmentations[first])  # (H, W) bool
        print(
            f"track {track.track_id}: {result.class_names[track.label]}, score {track.score:.2f}, "
            f"on {len(track.segmentations)} frames; {mask.sum()} pixels on frame {first}"
        )


def write_pictures(result: vm2f.VideoInstances, video: str, end: int | None, output: Path) -> None:
    """Draw the tracks on the frames, which are read again, and a sheet that sums them up."""
    annotator = MaskAnnotator()
    with open_video(video, end=end) as reader:
        sheet = ContactSheet(title=Path(video).name, class_names=result.class_names, frame_rate=reader.frame_rate)
        with VideoWriter(output / "overlay.mp4", reader.frame_rate or 25) as writer:
            for position, image in enumerate(reader):  # (H, W, 3) uint8 RGB
                instances = result.at_frame(reader.frame_index(position))
                writer.write(annotator.annotate(image, instances, result.class_names))
                sheet.add(image, instances)
    sheet.settle(result)
    sheet.save(output / "contact_sheet.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", default=str(CLIP))
    parser.add_argument("--model", default="demo", help="'demo', or a checkpoint of this package")
    parser.add_argument("--frames", type=int, help="stop after so many")
    parser.add_argument("--output", type=Path, default=Path("output/segment_a_video"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    model = vm2f.load(args.model)

    print("while the video is read:")
    for instances in vm2f.stream_video(model, args.video, end=args.frames):
        names = [model.class_names[label] for label in instances.labels]
        print(f"frame {instances.frame_index}:", dict(zip(instances.track_ids, names, strict=True)))

    print("at its end:")
    result = vm2f.segment_video(model, args.video, end=args.frames)
    print_tracks(result)
    write_tracks(args.output / "tracks.json", result, source=args.video)
    write_pictures(result, args.video, args.frames, args.output)
    for name in ("tracks.json", "overlay.mp4", "contact_sheet.png"):
        print("wrote", args.output / name)


if __name__ == "__main__":
    main()
