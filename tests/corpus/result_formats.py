"""Results and annotations: JSON, text, PNG and zip files."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import mutations
import numpy as np
from samples import (
    NUM_FRAMES,
    RUNS,
    SIZE,
    Case,
    JsonCase,
    annotations,
    compressed,
    damaged_png,
    evaluate,
    image_annotations,
    masks,
    run_command,
    use_tracks,
    video,
)

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.preparation.check import check_dataset
from video_mask2former.results import (
    JsonLinesReader,
    JsonLinesWriter,
    MaskPngWriter,
    MotsWriter,
    read_coco_detections,
    read_mask_pngs,
    read_mots,
    read_tracks,
    read_youtube_vis,
    write_tracks,
    write_youtube_vis,
)
from video_mask2former.rle import decode_rle
from video_mask2former.visualization import MaskAnnotator


class ResultsJson(JsonCase):
    def make(self) -> None:
        write_youtube_vis(self.folder / "sound.json", [video()])
        self.sound = json.loads((self.folder / "sound.json").read_text())

    def document(self) -> Any:
        return self.sound

    def crafted(self) -> list[Any]:
        def with_mask(mask: Any) -> str:
            return json.dumps([self.sound[0] | {"segmentations": [mask, None, None, None]}])

        num_steps = 2**16
        step, rest = divmod(2**64 + 40 * 56, num_steps * (num_steps + 1) // 2)
        runs = [rest] + [value for index in range(1, num_steps + 1) for value in (0, index * step)]
        return [
            with_mask({"size": [40, 56], "counts": compressed(runs)}),
            with_mask({"size": [40, 56], "counts": [2**64]}),
            with_mask({"size": [40, 56], "counts": [2**63, 2**63]}),
            with_mask({"size": [100_000, 100_000], "counts": [10**10]}),
            with_mask({"size": [100_000, 100_000], "counts": compressed([10**10])}),
            with_mask({"size": [2**40, 2**40], "counts": [2**80]}),
            with_mask({"size": [40, 56], "counts": [float("nan")]}),
            with_mask({"size": [True, 32], "counts": [32]}),
            "[" * 100_000,
            "[]",
            "",
        ]

    def read(self, path: Path) -> None:
        for found in read_youtube_vis(path).values():
            use_tracks(found)


class Detections(JsonCase):
    def document(self) -> Any:
        return [
            {
                "image_id": 5,
                "category_id": 1,
                "bbox": [1, 2, 3, 4],
                "score": 0.5,
                "track_id": 1,
                "segmentation": masks()[0],
            },
            {"image_id": 5, "category_id": 2, "score": 1, "segmentation": RUNS},
        ]

    def read(self, path: Path) -> None:
        for frame in read_coco_detections(path).values():
            for rle in frame.segmentations:
                decode_rle(rle)


class TracksJson(JsonCase):
    def make(self) -> None:
        write_tracks(self.folder / "sound.json", video())
        self.sound = json.loads((self.folder / "sound.json").read_text())

    def document(self) -> Any:
        return self.sound

    def read(self, path: Path) -> None:
        found = read_tracks(path)
        use_tracks(found)
        annotator = MaskAnnotator()
        annotator.annotate(np.zeros((*found.size, 3), np.uint8), found.at_frame(0), found.class_names)
        write_tracks(self.folder / "out" / "again.json", found)


class FramesLines(Case):
    file_name = "frames.jsonl"

    def make(self) -> None:
        with JsonLinesWriter(
            self.folder / "sound.jsonl", SIZE, frame_rate=Fraction(25), class_names=("a", "b", "c")
        ) as writer:
            for index in range(NUM_FRAMES):
                writer.write(video().at_frame(index), index / 25)
        self.lines = (self.folder / "sound.jsonl").read_text().splitlines()

    def damaged(self, rng: random.Random) -> bytes:
        lines = [line.encode() for line in self.lines]
        at = rng.randrange(len(lines))
        lines[at] = mutations.dump_json(rng, mutations.mutate_document(rng, json.loads(lines[at])))
        return b"\n".join(lines) + b"\n"

    def read(self, path: Path) -> None:
        for frame in JsonLinesReader(path):
            for rle in frame.segmentations:
                decode_rle(rle)
        JsonLinesWriter(path, SIZE, resume=True).close()


class MotsText(Case):
    file_name = "mots.txt"

    def make(self) -> None:
        with MotsWriter(self.folder / "sound.txt") as writer:
            for index in range(NUM_FRAMES):
                writer.write(video().at_frame(index))

    def damaged(self, rng: random.Random) -> bytes:
        return mutations.mutate_text(rng, (self.folder / "sound.txt").read_text())

    def read(self, path: Path) -> None:
        use_tracks(read_mots(path))


class MaskPngs(Case):
    def make(self) -> None:
        with MaskPngWriter(self.folder / "sound") as writer:
            for index in range(NUM_FRAMES):
                writer.write(video().at_frame(index))

    def prepare(self, rng: random.Random, index: int) -> Path:
        folder = self.folder / "masks"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder / "sound", folder)
        path = rng.choice(sorted(folder.iterdir()))
        if path.suffix == ".json":
            path.write_bytes(mutations.dump_json(rng, mutations.mutate_document(rng, json.loads(path.read_text()))))
        elif rng.random() < 0.1:
            path.rename(path.with_name(rng.choice(("99999999999999999999.png", "x.png", "-1.png", "٣.png"))))
        else:
            path.write_bytes(damaged_png(rng, path.read_bytes()))
        return folder

    def read(self, folder: Path) -> None:
        use_tracks(read_mask_pngs(folder))


class Annotations(JsonCase):
    def document(self) -> Any:
        return annotations()

    def crafted(self) -> list[Any]:
        huge = annotations()
        huge["videos"][0] |= {"height": 100_000, "width": 100_000}
        huge["annotations"] = []
        zigzag = annotations()
        zigzag["annotations"][1]["segmentations"][1] = [[value for _ in range(50_000) for value in (-9e4, 1, 9e4, 2)]]
        return [json.dumps(huge), json.dumps(zigzag)]

    def read(self, path: Path) -> None:
        check_dataset(path)
        for truth in load_annotations(path).iterate_ground_truth():
            use_tracks(truth)


class ImageAnnotations(Annotations):
    def document(self) -> Any:
        return image_annotations()

    def crafted(self) -> list[Any]:
        return []


class Evaluation(JsonCase):
    """The command, with annotations or results damaged."""

    def make(self) -> None:
        write_youtube_vis(self.folder / "results.json", [video()], [1, 2, 7])
        (self.folder / "truth.json").write_text(json.dumps(annotations()))
        self.parts = {name: json.loads((self.folder / name).read_text()) for name in ("results.json", "truth.json")}

    def prepare(self, rng: random.Random, index: int) -> list[Path]:
        chosen = rng.choice(list(self.parts))
        content = mutations.dump_json(rng, mutations.mutate_document(rng, self.parts[chosen]))
        path = self.folder / f"bad_{chosen}"
        path.write_bytes(content)
        return [path if name == chosen else self.folder / name for name in self.parts]

    def read(self, paths: list[Path]) -> None:
        results, truth = paths
        evaluate(self.folder, truth, results, cases=1)


class ImageEvaluation(Evaluation):
    def make(self) -> None:
        (self.folder / "truth.json").write_text(json.dumps(image_annotations()))
        detections = Detections.document(self)  # type: ignore[arg-type]
        (self.folder / "results.json").write_text(json.dumps(detections))
        self.parts = {"results.json": detections, "truth.json": image_annotations()}


class ZippedResults(Case):
    file_name = "results.zip"

    def make(self) -> None:
        write_youtube_vis(self.folder / "results.json", [video()], [1, 2, 7])
        (self.folder / "truth.json").write_text(json.dumps(annotations()))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(self.folder / "results.json", "results.json")
        self.sound = buffer.getvalue()

    def crafted(self) -> list[Any]:
        header, directory = self.sound.index(b"PK\x03\x04"), self.sound.index(b"PK\x01\x02")

        def patched(*changes: tuple[int, int]) -> bytes:
            content = bytearray(self.sound)
            for at, value in changes:
                content[at] = value
            return bytes(content)

        bomb = io.BytesIO()
        with (
            zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
            archive.open("results.json", "w", force_zip64=True) as file,
        ):
            for _ in range(64):
                file.write(bytes(2**26))
        return [
            patched((directory + 16, 1), (directory + 17, 2), (header + 14, 1), (header + 15, 2)),  # CRC
            patched((directory + 10, 99), (header + 8, 99)),  # method
            patched((directory + 8, 1), (header + 6, 1)),  # password
            bomb.getvalue(),
        ]

    def damaged(self, rng: random.Random) -> bytes:
        return mutations.mutate_bytes(rng, self.sound)

    def read(self, path: Path) -> None:
        evaluate(self.folder, self.folder / "truth.json", path, cases=0)


class PanopticFiles(Case):
    def make(self) -> None:
        self.document = {
            "categories": [{"id": 1, "name": "person", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}],
            "images": [{"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}],
            "annotations": [
                {
                    "image_id": 1,
                    "file_name": "a.png",
                    "segments_info": [{"id": 1, "category_id": 1}, {"id": 300, "category_id": 2, "iscrowd": 0}],
                }
            ],
        }
        picture = np.zeros((*SIZE, 3), np.uint8)
        picture[:10, :, 2] = 1
        picture[10:, :, 1:] = (1, 44)
        self.png = cv2.imencode(".png", picture)[1].tobytes()
        for name in ("truth", "found"):
            (self.folder / name).mkdir()
            (self.folder / name / "a.png").write_bytes(self.png)
            (self.folder / f"{name}.json").write_text(json.dumps(self.document))

    def prepare(self, rng: random.Random, index: int) -> Path:
        name = rng.choice(("truth", "found"))
        for each in ("truth", "found"):
            (self.folder / f"{each}.json").write_text(json.dumps(self.document))
            (self.folder / each / "a.png").write_bytes(self.png)
        if rng.random() < 0.7:
            (self.folder / f"{name}.json").write_bytes(
                mutations.dump_json(rng, mutations.mutate_document(rng, self.document))
            )
        else:
            (self.folder / name / "a.png").write_bytes(damaged_png(rng, self.png))
        return self.folder

    def read(self, folder: Path) -> None:
        evaluate(folder, folder / "truth.json", folder / "found.json", cases=1)


class DatasetTools(JsonCase):
    def document(self) -> Any:
        return annotations()

    def make(self) -> None:
        self.coco_video = {
            "categories": [{"id": 1, "name": "a"}],
            "videos": [{"id": 1, "name": "v"}],
            "images": [
                {"id": n, "video_id": 1, "frame_id": n, "file_name": f"v/{n}.png", "height": 40, "width": 56}
                for n in range(2)
            ],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "instance_id": 1, "segmentation": masks()[0]}],
        }
        (self.folder / "groups.yaml").write_text("person: people\ndog: animals\n")

    def damaged(self, rng: random.Random) -> Any:
        document = rng.choice((annotations(), image_annotations(), self.coco_video))
        return mutations.dump_json(rng, mutations.mutate_document(rng, document))

    def read(self, path: Path) -> None:
        problems = []
        commands: list[list[Any]] = [
            ["split", path],
            ["filter-coco", path, self.folder / "out" / "f.json", "ytvis_2019"],
            ["group-classes", path, self.folder / "out" / "g.json"],
            ["convert-coco-video", path, self.folder / "out" / "c.json"],
        ]
        for words in commands:
            try:
                run_command("data", *words)
            except (OSError, ValueError) as error:
                problems.append(error)
        if problems:
            raise problems[0]
