"""The work of the ``predict`` command: one video after the other, what is done skipped, what fails reported."""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import tempfile
import traceback
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from video_mask2former.atomic import atomic_path
from video_mask2former.cli import describe_error
from video_mask2former.cli.predict_inputs import PredictInput
from video_mask2former.cli.result_folders import MARKER, ResultFolders
from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.outputs import OutputChoice
from video_mask2former.inference.video_job import VideoJob
from video_mask2former.progress import ProgressBar
from video_mask2former.remote_files import Store, fetched, is_address, is_stored

# What a video or its files can fail with; anything else is an error of ours and stops the run
EXPECTED_ERRORS = (OSError, ValueError, KeyError, MemoryError, RuntimeError, ImportError)
# Settings that change how a result is reached, not what it is
SAME_RESULT = ("chunk_size", "video_backend")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictTask:
    """What is done with every input.

    Attributes:
        folders: A folder for each input.
        choice: Which files are written.
        start: Index of the first frame.
        end: Index to stop before.
        every: Take every n-th frame.
        frame_rate: Rate of images, which do not say their own.
        model: What identifies the model: configuration and weights.
        settings: How it is run.
        task: What is made of its masks, as plain values.
        overwrite: Predict again what is done.
    """

    folders: ResultFolders
    choice: OutputChoice
    start: int | None
    end: int | None
    every: int
    frame_rate: Fraction | None
    model: dict[str, Any]
    settings: InferenceSettings
    task: dict[str, Any]
    overwrite: bool = False

    def job(self, entry: PredictInput, source: str | Path | int, folder: Path) -> VideoJob:
        """The work on an input, whose file is ``source``."""
        return VideoJob(
            source,
            folder,
            self.choice,
            name=None if source == entry.source else str(entry.source),
            start=self.start,
            end=self.end,
            every=self.every,
            frame_rate=self.frame_rate,
            backend=self.settings.video_backend,
        )

    def request(self, entry: PredictInput) -> dict[str, Any]:
        """What was asked for, in JSON's types; a video is done if its marker says that the same was."""
        settings = {key: value for key, value in self.settings.describe().items() if key not in SAME_RESULT}
        settings["tracker"] = self.settings.tracker_name
        request = {
            "input": file_identity(entry.source),
            "model": self.model,
            "settings": settings,
            "task": self.task,
            "outputs": asdict(self.choice),
            "frames": [self.start, self.end, self.every],
            "frame_rate": None if self.frame_rate is None else str(self.frame_rate),
        }
        return dict(json.loads(json.dumps(request)))

    def is_done(self, entry: PredictInput) -> bool:
        """Whether an earlier run did all that is asked for now, and its files are still there."""
        found = self.earlier_run(entry)
        if self.overwrite or found.get("request") != self.request(entry):
            return False
        return all(self.folders.holds(entry.name, str(name)) for name in found.get("files", ()))

    def earlier_run(self, entry: PredictInput) -> dict[str, Any]:
        """What the marker in the folder of an input says; nothing if there is none that can be read."""
        try:
            found = json.loads(self.folders.marker(entry.name) or "null")
        except ValueError:
            return {}
        is_marker = isinstance(found, dict) and isinstance(found.get("request"), dict)
        return found if is_marker else {}


def file_identity(source: str | int) -> dict[str, Any]:
    """What tells one version of a source from another without reading it: its path, and size and age of its files."""
    if isinstance(source, int):
        return {"source": source}
    if is_stored(source):
        return Store(source).identity()
    if is_address(source):
        return {"source": source.partition("?")[0]}  # what follows may be a password
    if os.path.isdir(source):
        names = [entry.path for entry in os.scandir(source)]
    else:
        names = [source] if os.path.exists(source) else glob.glob(source, recursive=True)
    status = [os.stat(name) for name in names if os.path.isfile(name)]
    return {
        "source": os.path.abspath(source),
        "files": len(status),
        "size": sum(each.st_size for each in status),
        "modified": max((each.st_mtime_ns for each in status), default=None),
    }


def run_task(task: PredictTask, inputs: list[PredictInput], predictor: VideoPredictor, *, debug: bool = False) -> int:
    """Predict all inputs that are not done yet; one that fails does not keep the others from their turn.

    Returns:
        The number of inputs that failed.
    """
    num_failed = 0
    for number, entry in enumerate(inputs, start=1):
        title = entry.name if len(inputs) == 1 else f"[{number}/{len(inputs)}] {entry.name}"
        outcome = predict_input(task, entry, predictor, title)
        is_failed = outcome.status == "failed"
        num_failed += is_failed
        logger.log(logging.ERROR if is_failed else logging.INFO, "%s", outcome.message)
        if is_failed and debug:
            logger.error("%s", outcome.trace)
    return num_failed


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    Attributes:
        status: Whether its results are written, were there, or could not be made.
        message: The same for people, in a line.
        trace: Where an error came from.
    """

    status: Literal["done", "skipped", "failed"]
    message: str
    trace: str = ""


def predict_input(task: PredictTask, entry: PredictInput, predictor: VideoPredictor, title: str) -> Outcome:
    """Predict one input, unless it is done."""
    try:
        if task.is_done(entry):
            return Outcome("skipped", f"{title}: already done, skipped (--overwrite does it again)")
        return Outcome("done", _predict_one(task, entry, predictor, title))
    except EXPECTED_ERRORS as error:
        message = _describe_failure(error, entry, task.folders.place(entry.name))
        return Outcome("failed", message, traceback.format_exc())


def _describe_failure(error: BaseException, entry: PredictInput, folder: str) -> str:
    text = describe_error(error)
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        # a full disk does not say which
        text = f"{error.strerror}, writing to {folder} or to {tempfile.gettempdir()}."
    return text if str(entry.source) in text else f"{entry.source}: {text}"


def _predict_one(task: PredictTask, entry: PredictInput, predictor: VideoPredictor, title: str) -> str:
    with contextlib.ExitStack() as stack:
        source: str | Path | int = entry.source
        if isinstance(source, str) and is_stored(source):
            source = stack.enter_context(fetched(source))
        folder = stack.enter_context(task.folders.workspace(entry.name))
        return _write_results(task, entry, task.job(entry, source, folder), folder, predictor, title)


def _write_results(
    task: PredictTask, entry: PredictInput, job: VideoJob, folder: Path, predictor: VideoPredictor, title: str
) -> str:
    with job.open() as reader:
        _warn_of_replacing(task, entry)
        task.folders.begin(entry.name)
        before = predictor.clock.copy()
        with ProgressBar(title, reader.num_frames, "frame") as bar:
            num_done = 0

            def progress(count: int) -> None:
                nonlocal num_done
                bar.update(count - num_done)
                num_done = count

            result = job.run(predictor, reader, progress)
    spent = predictor.clock.since(before)
    content = {
        "request": task.request(entry),
        "files": task.choice.file_names(is_image=job.is_image),
        "num_frames": reader.num_read,
        "num_tracks": len(result),
        "seconds": {stage: round(seconds, 4) for stage, seconds in spent.seconds.items()},
        "damage": reader.damage,
    }
    with atomic_path(folder / MARKER) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    objects = f"{len(result)} object{'' if len(result) == 1 else 's'}"
    place = task.folders.place(entry.name)
    return f"{title}: {objects} on {reader.num_read} frames, {spent.report()}, in {place}"


def _warn_of_replacing(task: PredictTask, entry: PredictInput) -> None:
    """Say so if the folder holds the results of another video of the same name."""
    before = task.earlier_run(entry).get("request", {}).get("input")
    if before and before["source"] != task.request(entry)["input"]["source"]:
        place = task.folders.place(entry.name)
        logger.warning("%s held the results of %s, which are replaced", place, before["source"])
