"""Sound inputs of every kind, and what the formats of files share."""

from __future__ import annotations

import random
import shutil
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import mutations
import numpy as np

from video_mask2former.cli import make_parser
from video_mask2former.rle import decode_rle, encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.video_io import VideoWriter

SIZE = (40, 56)
NUM_FRAMES = 4
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2}
SMALL: dict[str, Any] = {
    "model": {
        "num_classes": 3,
        "class_names": ["person", "dog", "car"],
        "num_queries": 4,
        "hidden_dim": 32,
        "num_heads": 2,
        "pixel_decoder": {"num_layers": 1, "feedforward_dim": 8, "mask_dim": 16},
        "decoder": {"num_layers": 1, "feedforward_dim": 8},
        "backbone": {
            "name": "swin",
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 2,
        },
    },
    "inference": {"short_side": 48},
}


TRIANGLE = [[1, 1, 20, 1, 20, 9]]
RUNS = {"size": [40, 56], "counts": [8, 4, 2228]}


def masks() -> list[Any]:
    """An object that moves."""
    shapes = np.zeros((NUM_FRAMES, *SIZE), bool)
    for frame in range(NUM_FRAMES):
        shapes[frame, 4:14, 3 + 4 * frame : 12 + 4 * frame] = True
    return list(encode_masks(shapes))


def video() -> VideoInstances:
    tracks = (
        Track(1, 0, 0.9, dict(enumerate(masks())), {0: 0.9}),
        Track(2, 2, 0.5, {1: masks()[2]}, {}),
    )
    return VideoInstances(tracks, NUM_FRAMES, SIZE, Fraction(30000, 1001), ("person", "dog", "car"), video_id=1)


def annotations() -> dict[str, Any]:
    tracks = [
        {"id": 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "segmentations": masks(), "areas": [90] * NUM_FRAMES},
        {
            "id": 2,
            "video_id": 1,
            "category_id": 7,
            "iscrowd": 0,
            "segmentations": [None, [[1, 1, 20, 1, 20, 9]], None, None],
        },
        {
            "id": 3,
            "video_id": 1,
            "category_id": 2,
            "iscrowd": 1,
            "segmentations": [None, None, {"size": [40, 56], "counts": [8, 4, 2228]}, None],
        },
    ]
    names = [f"v/{frame}.png" for frame in range(NUM_FRAMES)]
    return {
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}, {"id": 7, "name": "car"}],
        "videos": [{"id": 1, "height": SIZE[0], "width": SIZE[1], "length": NUM_FRAMES, "file_names": names}],
        "annotations": tracks,
    }


def image_annotations() -> dict[str, Any]:
    objects = [
        {
            "id": 1,
            "image_id": 5,
            "category_id": 1,
            "iscrowd": 0,
            "area": 90,
            "bbox": [3, 4, 9, 10],
            "segmentation": masks()[0],
        },
        {"id": 2, "image_id": 5, "category_id": 2, "iscrowd": 0, "area": 76.0, "segmentation": TRIANGLE},
    ]
    return {
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
        "images": [{"id": 5, "height": SIZE[0], "width": SIZE[1], "file_name": "v/0.png"}],
        "annotations": objects,
    }


def use_tracks(found: VideoInstances) -> None:
    """What a program does with tracks: decode and draw them."""
    for index in range(min(found.num_frames, 8)):
        for rle in found.at_frame(index).segmentations:
            decode_rle(rle)


def run_command(*words: str | Path) -> None:
    """A command, whose errors come out as errors."""
    try:
        args = make_parser().parse_args(list(map(str, words)))
    except SystemExit as error:
        raise ValueError("not a command line") from error
    status = args.run(args)
    if status:
        raise ValueError(f"the command ended with {status}")


def evaluate(folder: Path, truth: Path, results: Path, cases: int = 0) -> None:
    words = ("--annotations", truth, "--results", results, "--output", folder / "out", "--cases", str(cases))
    run_command("evaluate", *words)


def predict(folder: Path, path: Path, *words: str | Path) -> None:
    run_command("predict", path, "--output", folder / "out", "--device", "cpu", *words)


class Case:
    """One kind of input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._crafted: list[Any] | None = None
        self.make()

    def make(self) -> None:
        """Write what does not change."""

    def crafted(self) -> list[Any]:
        """Inputs that are tried first, whatever the seed."""
        return []

    def damaged(self, rng: random.Random) -> Any:
        raise NotImplementedError

    def prepare(self, rng: random.Random, index: int) -> Any:
        if self._crafted is None:
            self._crafted = self.crafted()
        crafted = self._crafted
        return self.write(crafted[index] if index < len(crafted) else self.damaged(rng))

    def write(self, content: Any) -> Any:
        path = self.folder / self.file_name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return path

    file_name = "input"

    def read(self, prepared: Any) -> None:
        raise NotImplementedError

    def leftovers(self) -> list[str]:
        """Files that a failed run should not have left."""
        output = self.folder / "out"
        left = [
            str(path.relative_to(output))
            for path in output.rglob("*")
            if ".tmp" in path.name or path.name.endswith(".partial")
        ]
        shutil.rmtree(output, ignore_errors=True)
        return left


class JsonCase(Case):
    file_name = "input.json"

    def document(self) -> Any:
        raise NotImplementedError

    def damaged(self, rng: random.Random) -> bytes:
        return mutations.dump_json(rng, mutations.mutate_document(rng, self.document()))


def compressed(runs: list[int]) -> str:
    """Counts as COCO writes them, of any integers."""
    text = []
    for index, run in enumerate(runs):
        rest, is_last = run - (runs[index - 2] if index > 2 else 0), False
        while not is_last:
            digit, rest = rest & 0x1F, rest >> 5
            is_last = rest == (-1 if digit & 0x10 else 0)
            text.append(chr(48 + digit + (0 if is_last else 0x20)))
    return "".join(text)


def damaged_png(rng: random.Random, data: bytes) -> bytes:
    """Bytes damaged; or a header that says another size, with its checksum right."""
    if rng.random() < 0.6:
        return mutations.mutate_bytes(rng, data)
    return png_of_size(
        data,
        *rng.choice(
            ((2**31 - 1, 1), (60_000, 60_000), (30_000, 30_000), (20_000, 20_000), (0, 5), (1, 1), (11_000, 11_000))
        ),
    )


def png_of_size(data: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def write_video(path: Path) -> None:
    with VideoWriter(path, Fraction(30000, 1001)) as writer:
        for index in range(8):
            frame = np.full((*SIZE, 3), 80, np.uint8)
            cv2.rectangle(frame, (2 * index, 4), (2 * index + 10, 14), (200, 30, 90), -1)
            writer.write(frame)
