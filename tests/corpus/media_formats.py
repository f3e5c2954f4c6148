"""Images, videos, the words of the command line, names of classes."""

from __future__ import annotations

import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import cv2
import mutations
import numpy as np
import torch
from samples import (
    SIZE,
    SMALL,
    Case,
    annotations,
    damaged_png,
    evaluate,
    png_of_size,
    predict,
    run_command,
    video,
    write_video,
)

from video_mask2former.config import apply_overrides, config_from_mapping, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.data.image_files import read_image
from video_mask2former.recipes.model import build_model
from video_mask2former.results import (
    write_youtube_vis,
)
from video_mask2former.video_io import open_video


class Images(Case):
    """Images, read as data and predicted as videos are."""

    def make(self) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        self.sound = {
            suffix: cv2.imencode(suffix, picture)[1].tobytes()
            for suffix in (".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm")
        }

    def crafted(self) -> list[Any]:
        png = self.sound[".png"]
        return [
            *(
                (".png", png_of_size(png, *size))
                for size in ((60_000, 60_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (0, 0))
            ),
            (".ppm", b"P6 100000 100000 255\n" + bytes(100)),
            (".ppm", b"P6 20000 20000 255\n" + bytes(100)),
            (".bmp", self.sound[".bmp"][:18] + struct.pack("<ii", 30_000, 30_000) + self.sound[".bmp"][26:]),
            (".png", "fifo"),
            (".png", "folder"),
            (".png", "loop"),
            (".png", "/dev/zero"),
            (".png", b""),
        ]

    def damaged(self, rng: random.Random) -> Any:
        suffix = rng.choice(list(self.sound))
        data = self.sound[suffix]
        return suffix, damaged_png(rng, data) if suffix == ".png" else mutations.mutate_bytes(rng, data)

    def write(self, content: Any) -> Path:
        suffix, data = content
        self.file_name = f"input{suffix}"
        path = self.folder / self.file_name
        if isinstance(data, bytes):
            return super().write(data)  # type: ignore[no-any-return]
        super().write(b"")
        path.unlink()
        make_special(path, data)
        return path

    def read(self, path: Path) -> None:
        try:
            read_image(path)
        except (OSError, ValueError):
            with open_video(path) as reader:
                list(reader)
            raise


def make_special(path: Path, kind: str) -> None:
    """What stands where a file is expected."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.symlink_to(kind)


class Videos(Images):
    def make(self) -> None:
        self.sound = {}
        for suffix in (".mp4", ".mkv"):
            write_video(self.folder / f"sound{suffix}")
            self.sound[suffix] = (self.folder / f"sound{suffix}").read_bytes()

    def crafted(self) -> list[Any]:
        return [(".mp4", kind) for kind in ("fifo", "folder", "loop", "/dev/zero")] + [(".mp4", b""), (".avi", b"RIFF")]

    def damaged(self, rng: random.Random) -> Any:
        suffix = rng.choice(list(self.sound))
        return suffix, mutations.mutate_bytes(rng, self.sound[suffix])

    def read(self, path: Path) -> None:
        with open_video(path) as reader:
            list(reader)
            assert reader.timestamps is None or len(reader.timestamps)


class PredictVideos(Videos):
    """The command; every third input is sound, but the words of the command are not."""

    def make(self) -> None:
        super().make()
        config = config_from_mapping(SMALL, "test")
        torch.manual_seed(0)
        write_checkpoint(self.folder / "model.safetensors", build_model(config).state_dict(), to_yaml(config))
        self.words: list[list[str]] = [
            ["--frame-rate", text]
            for text in ("0", "1e300", "nan", "-1", "1/0", "9" * 30, "1e-300", "1e999999999", "0.00001", "99999")
        ] + [
            ["--every", "0"],
            ["--every", "99999999999999999999"],
            ["--start", "99999999999"],
            ["--end", "-1"],
            ["--conf", "x"],
            ["--classes", "x" * 10_000],
            ["--classes", "person,person,9"],
            ["--top-k", "99999999999999999999"],
            ["--window", "-1"],
            ["--window", "999999999999"],
            ["--score-threshold", "nan"],
            ["--device", "cuda:77"],
            ["--device", "nonsense"],
            ["--tracker", "os:system"],
            ["--tracker", "video_mask2former.tracking:Tracker"],
            ["--short-side", "1"],
            ["--short-side", "999999999"],
            ["--max-side", "1"],
            ["--chunk-size", "999999999999"],
            ["--feature-device", "cuda"],
            ["--mode", "x"],
            ["model.num_queries=1000000000000"],
            ["model.hidden_dim=100000000"],
            [
                'model.class_names=["[/red]", "a\\nb\\e[2J", "' + "x" * 1_000_000 + '"]',
                "--masks",
                "--frames",
                "--coco",
                "--mots",
            ],
            ["http://example.org/video.mp4"],
        ]

    def prepare(self, rng: random.Random, index: int) -> Any:
        path = super().prepare(rng, max(index - len(self.words), 0))
        extra: list[str] = []
        if index < len(self.words):
            path = self.folder / "sound.mp4"
            extra = self.words[index]
        return path, extra

    def read(self, prepared: Any) -> None:
        path, extra = prepared
        predict(
            self.folder,
            path,
            "--weights",
            self.folder / "model.safetensors",
            *extra,
        )


class Names(Case):
    """Class names of all kinds in everything that shows them."""

    def damaged(self, rng: random.Random) -> Any:
        texts = [value for value in mutations.VALUES if isinstance(value, str)]
        extra = ["[bold", "[/]", "\r\n", "\u202e", "\t", "日本語", "<script>", "%s", "{}", "\x7f", "a" * 300, "👩‍👩‍👧"]
        return [rng.choice(texts + extra) for _ in range(3)]

    def write(self, content: Any) -> Any:
        return content

    def read(self, names: list[str]) -> None:
        document = annotations()
        for category, name in zip(document["categories"], names, strict=True):
            category["name"] = name
        truth, results = self.folder / "truth.json", self.folder / "results.json"
        truth.write_text(json.dumps(document))
        write_youtube_vis(results, [video()], [1, 2, 7])
        run_command("data", "check", truth)
        evaluate(self.folder, truth, results, cases=1)
        config = config_from_mapping(SMALL, "test")
        config = apply_overrides(config, {"model.class_names": names, "inference.score_threshold": 0.0})
        if not (self.folder / "sound.mp4").exists():
            write_video(self.folder / "sound.mp4")
        write_checkpoint(self.folder / "model.safetensors", build_model(config).state_dict(), to_yaml(config))
        predict(
            self.folder,
            self.folder / "sound.mp4",
            "--weights",
            self.folder / "model.safetensors",
            "--score-threshold",
            "0",
            "--frames",
        )
