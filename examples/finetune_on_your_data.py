"""Fine-tune the small model that ships with the project on custom classes, and look at what it learned.

    python examples/finetune_on_your_data.py                    # synthetic videos; half a minute of CPU time
    python examples/finetune_on_your_data.py --steps 1000       # the same for some minutes
    python examples/finetune_on_your_data.py --train frames/::train.json --val frames/::val.json --steps 1000

Your data is a folder of frames and a JSON file in the YouTube-VIS format (datasets/ytvis/README.md shows it). Without
it, this makes a small set of moving discs, squares, triangles and stars, classes that the model has never seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import video_mask2former as vm2f
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset


def make_dataset(folder: Path, num_videos: int, seed: int) -> str:
    """Write synthetic videos with exact masks, and name them as datasets are named everywhere: IMAGES::ANNOTATIONS."""
    style = SceneStyle(num_frames=6, size=(96, 128), num_objects=(1, 3), object_sides=(0.3, 0.7))
    annotations = write_synthetic_dataset(folder, num_videos, style, seed)
    return f"{folder / 'JPEGImages'}::{annotations}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", help="IMAGES::ANNOTATIONS.json to train on")
    parser.add_argument("--val", help="IMAGES::ANNOTATIONS.json to measure on")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--short-side", type=int, default=96, help="of the frames as the model sees them")
    parser.add_argument("--output", type=Path, default=Path("output/finetune_on_your_data"))
    args = parser.parse_args()
    train = args.train or make_dataset(args.output / "train", num_videos=40, seed=1)
    val = args.val or make_dataset(args.output / "val", num_videos=6, seed=2)

    run = args.output / "run"
    result = vm2f.train(
        "demo",  # the weights that training starts from, and the configuration that the options below change
        overrides={
            "data.train": [train],
            "data.test": [val],
            "data.short_sides": [args.short_side],
            "data.copy_paste_probability": 0.0,
            "data.num_workers": 0,
            "training.max_steps": args.steps,
            "training.batch_size": 2,
            "training.log_period": 10,
            "training.schedule": "cosine",
            "training.ema_decay": 0.0,  # an average over the last 500 steps makes no sense in 60
            "training.amp_dtype": "float32",  # bfloat16 pays off on GPUs
            "inference.short_side": args.short_side,
        },
        output=run,
        resume=True,  # called again with more steps, it goes on
    )
    print(f"{result.step} steps, AP {result.metrics['AP']:.3f}, AP50 {result.metrics['AP50']:.3f}")

    model = vm2f.load(run / "model_final.pth")  # knows its classes and its frame size
    print("classes:", ", ".join(model.class_names))
    images, _, _ = val.partition("::")
    frames = sorted(Path(images).rglob("*.jpg"))[0].parent
    for track in vm2f.segment_video(model, str(frames)).tracks:
        print(f"{frames}: {model.class_names[track.label]}, score {track.score:.2f}")
    print(
        f"look at {run / 'curves.png'} and {run / 'pictures'}; segment_a_video.py takes --model {run}/model_final.pth"
    )


if __name__ == "__main__":
    main()
