"""The work of the ``predict`` command: one video after the other, what is done skipped, what fails reported."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from video_mask2former.atomic import atomic_path
from video_mask2former.cli import describe_error
from video_mask2former.cli.predict_inputs import PredictInput
from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.outputs import OutputChoice
from video_mask2former.inference.video_job import VideoJob

MARKER = "done.json"
# What a video or its files can fail with; anything else is an error of ours and stops the run
EXPECTED_ERRORS = (OSError, ValueError, KeyError, MemoryError, RuntimeError, ImportError)
# Settings that change how a result is reached, not what it is
SAME_RESULT = ("chunk_size", "video_backend")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictTask:
    """What is done with every input.

    Attributes:
        output: Folder with a folder for each input.
        choice: Which files are written.
        start: Index of the first frame.
        end: Index to stop before.
        every: Take every so many frames.
        model: What identifies the model: configuration and weights.
        settings: How it is run.
        overwrite: Predict again what is done.
    """

    output: Path
    choice: OutputChoice
    start: int | None
    end: int | None
    every: int
    model: dict[str, Any]
    settings: InferenceSettings
    overwrite: bool = False

    def folder(self, entry: PredictInput) -> Path:
        """Where the files of an input go."""
        return self.output / entry.name

    def request(self, entry: PredictInput) -> dict[str, Any]:
        """What was asked for, in JSON's types; a video is done if its marker says that the same was."""
        settings = {key: value for key, value in asdict(self.settings).items() if key not in SAME_RESULT}
        settings["tracker"] = self.settings.tracker_name
        request = {
            "input": file_identity(entry.source),
            "model": self.model,
            "settings": settings,
            "outputs": asdict(self.choice),
            "frames": [self.start, self.end, self.every],
        }
        return dict(json.loads(json.dumps(request)))

    def is_done(self, entry: PredictInput) -> bool:
        """Whether an earlier run did all that is asked for now."""
        marker = self.folder(entry) / MARKER
        if self.overwrite or not marker.is_file():
            return False
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError:
            return False
        return isinstance(found, dict) and found.get("request") == self.request(entry)


def file_identity(source: str | int) -> dict[str, Any]:
    """What tells one version of a file from another without reading it: path, size and time of change."""
    if isinstance(source, int) or not os.path.exists(source):
        return {"source": source}
    status = os.stat(source)
    size = None if os.path.isdir(source) else status.st_size
    return {"source": os.path.abspath(source), "size": size, "modified": status.st_mtime_ns}


def run_task(task: PredictTask, inputs: list[PredictInput], predictor: VideoPredictor, *, debug: bool = False) -> int:
    """Predict all inputs that are not done yet; one that fails does not keep the others from their turn.

    Returns:
        The number of inputs that failed.
    """
    num_failed = 0
    for number, entry in enumerate(inputs, start=1):
        title = entry.name if len(inputs) == 1 else f"[{number}/{len(inputs)}] {entry.name}"
        if task.is_done(entry):
            logger.info("%s: already done, skipped (--overwrite does it again)", title)
            continue
        try:
            _predict_one(task, entry, predictor, title)
        except EXPECTED_ERRORS as error:
            num_failed += 1
            text = describe_error(error)
            logger.error("%s", text if str(entry.source) in text else f"{entry.source}: {text}", exc_info=debug)
    return num_failed


def _predict_one(task: PredictTask, entry: PredictInput, predictor: VideoPredictor, title: str) -> None:
    folder = task.folder(entry)
    job = VideoJob(
        *(entry.source, folder, task.choice),
        start=task.start,
        end=task.end,
        every=task.every,
        backend=task.settings.video_backend,
    )
    with job.open() as reader:
        (folder / MARKER).unlink(missing_ok=True)
        before = dict(predictor.clock.seconds)
        with tqdm(total=reader.num_frames, desc=title, unit="frame", dynamic_ncols=True) as bar:

            def progress(count: int) -> None:
                bar.update(count - bar.n)

            try:
                result = job.run(predictor, reader, progress)
            except BaseException:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # if nothing is in it
                raise
    seconds = {stage: round(total - before[stage], 4) for stage, total in predictor.clock.seconds.items()}
    content = {
        "request": task.request(entry),
        "files": task.choice.file_names(is_image=job.is_image),
        "num_frames": reader.num_read,
        "num_tracks": len(result),
        "seconds": seconds,
        "damage": reader.damage,
    }
    with atomic_path(folder / MARKER) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    total = sum(seconds.values())
    shares = ", ".join(f"{stage} {value / total:.0%}" for stage, value in seconds.items())
    logger.info(
        "%s: %d objects on %d frames, %.1f frames/s (%s), in %s",
        *(title, len(result), reader.num_read, reader.num_read / total, shares, folder),
    )
