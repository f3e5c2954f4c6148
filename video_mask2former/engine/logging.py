"""What a training run tells: a progress bar, log lines, a JSONL file that survives resuming, and TensorBoard."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import cv2
import torch
from tqdm import tqdm

from video_mask2former.atomic import atomic_path
from video_mask2former.documents import parse_json, read_text
from video_mask2former.engine.curves import draw_curves
from video_mask2former.option_values import Range, parse_value

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

_AUXILIARY = re.compile(r".*_\d+")
_Number = Annotated[float, Range(at_least=-1e30, at_most=1e30)] | None


class _Step(TypedDict):
    step: Annotated[int, Range(at_least=0, at_most=10**12)]


class _Record(_Step, total=False):
    """What there is of other things than numbers in a record."""

    evaluation: Mapping[str, _Number]


class TrainingLog:
    """The records of one run, written by the main process only.

    Every ``period`` steps the means since the last record go to ``metrics.jsonl``, to TensorBoard and to the log.
    A record is one JSON object a line: ``{"step": 20, "loss": 31.5, "loss_ce": ..., "learning_rate": ...}``;
    evaluations are ``{"step": 1000, "evaluation": {"AP": ...}}``. ``curves.png`` shows them, drawn at every evaluation
    and at the end. TensorBoard also gets the pictures that an evaluation left in ``pictures/step_*``.

    Args:
        folder: Where ``metrics.jsonl``, ``curves.png`` and ``tensorboard/`` go.
        max_steps: For the progress bar and the time that remains.
        period: Steps between records.
        use_tensorboard: Whether TensorBoard files are written too.
        is_main: False makes every method do nothing.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, max_steps: int, period: int, use_tensorboard: bool, is_main: bool
    ) -> None:
        self.path = Path(folder) / "metrics.jsonl"
        self._max_steps = max_steps
        self._period = period
        self._is_main = is_main
        self._use_tensorboard = use_tensorboard and is_main
        self._draws_curves = True
        self._sums: dict[str, tuple[float, int]] = {}
        self._bar: tqdm[Any] | None = None
        self._tensorboard: SummaryWriter | None = None

    def start(self, step: int, evaluated_step: int = -1) -> None:
        """Go on after ``step`` steps: later records, of a run that was cut off, are dropped.

        Args:
            step: Steps done.
            evaluated_step: The last step whose evaluation is kept.
        """
        if not self._is_main:
            return
        keep_records(self.path, step, evaluated_step)
        if self._use_tensorboard:
            self._tensorboard = _summary_writer(self.path.parent / "tensorboard", step + 1)
        # disable=None: no bar where the output is a file; the log lines tell the same.
        self._bar = tqdm(total=self._max_steps, initial=step, unit="step", disable=None, dynamic_ncols=True)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take in what one step measured; ``step`` counts from 1. A step that was skipped has no losses."""
        if not self._is_main:
            return
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        if self._bar is not None:
            self._bar.set_postfix_str(_short(values), refresh=False)
            self._bar.update()
        if step % self._period == 0 or step == self._max_steps:
            self._record(step)

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of an evaluation after ``step`` steps."""
        if not self._is_main:
            return
        self._write({"step": step, "evaluation": dict(metrics)})
        if self._tensorboard is not None:
            for name, value in metrics.items():
                self._tensorboard.add_scalar(f"evaluation/{name}", value, step)
            for path in sorted(picture_folder(self.path.parent, step).glob("*.jpg")):
                picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
                self._tensorboard.add_image(f"pictures/{path.stem}", picture, step, dataformats="HWC")
        logger.info("evaluation after %d steps: %s", step, "  ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        self._draw()

    def close(self) -> None:
        """End the progress bar and flush the files."""
        if self._is_main:
            self._draw()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def state_dict(self) -> dict[str, Any]:
        """The means that are not recorded yet, so that a resumed run writes the same records."""
        return {"sums": dict(self._sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the means of a saved state."""
        self._sums = dict(state["sums"])

    def _record(self, step: int) -> None:
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        self._write({"step": step, **means})
        if self._tensorboard is not None:
            for name, value in means.items():
                self._tensorboard.add_scalar(f"training/{name}", value, step)
        remaining = datetime.timedelta(seconds=round((self._max_steps - step) * means.get("step_seconds", 0.0)))
        if self._bar is None or self._bar.disable:
            logger.info("step %d/%d  %s  remaining %s", step, self._max_steps, _short(means), remaining)

    def _draw(self) -> None:
        if not self._draws_curves:
            return
        try:
            draw_curves(read_records(self.path), self.path.with_name("curves.png"))
        except ImportError as error:
            self._draws_curves = False
            logger.info("no curves are drawn: %s", error)
        except OSError as error:  # a full disk is reported by what matters more
            logger.warning("the curves could not be drawn: %s", error)

    def _write(self, record: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(record)) + "\n")


def picture_folder(output: Path, step: int) -> Path:
    """Where an evaluation after so many steps leaves pictures, in the folder of the run."""
    return output / "pictures" / f"step_{step:07d}"


def read_records(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a ``metrics.jsonl``; a last line that was cut off by a crash is left out.

    Raises:
        ValueError: If another line is not JSON.
    """
    if not Path(path).is_file():
        return []
    lines = read_text(Path(path)).splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        place = f"line {number} of {path}"
        try:
            record = parse_json(line, f"{place} is not JSON")
        except ValueError:
            if number < len(lines):
                raise
            continue  # cut off by a crash
        records.append(_checked_record(record, place))
    return records


def _checked_record(record: object, place: str) -> dict[str, Any]:
    """The record, if it has a step, and finite numbers or null, also in groups."""
    checked: dict[str, Any] = parse_value(record, _Record, "", place)
    return checked | {
        name: parse_value(value, _Number, name[:80], place)
        for name, value in checked.items()
        if name not in _Record.__annotations__ and name != "step"
    }


def keep_records(path: Path, step: int, evaluated_step: int) -> None:
    """Rewrite a ``metrics.jsonl`` without the records after ``step`` and the evaluations after ``evaluated_step``."""
    if not path.is_file():
        return
    kept = [
        record
        for record in read_records(path)
        if record["step"] <= (evaluated_step if "evaluation" in record else step)
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")


@contextlib.contextmanager
def log_to_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Append the package's log to a file inside the block."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    package_logger = logging.getLogger("video_mask2former")
    package_logger.addHandler(handler)
    if package_logger.getEffectiveLevel() > logging.INFO:
        package_logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        package_logger.removeHandler(handler)
        handler.close()


def memory_mib(device: torch.device) -> float:
    """The most memory held so far: on the GPU by tensors, else by this process (0 where the system does not say)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _short(values: Mapping[str, float]) -> str:
    """The values that people look at: no losses of intermediate layers."""
    parts = []
    for name, value in values.items():
        if name.endswith("_seconds"):
            parts.append(f"{name.removesuffix('_seconds')} {value:.3f} s")
        elif name.endswith("_mib"):
            parts.append(f"{name.removesuffix('_mib')} {value:.0f} MiB")
        elif not _AUXILIARY.fullmatch(name):
            parts.append(f"{name} {value:.3g}" if name.startswith("loss") else f"{name} {value:.2e}")
    return "  ".join(parts)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _summary_writer(folder: Path, first_step: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "training.tensorboard is on, but TensorBoard is not installed. "
            "Install it with: pip install 'video-mask2former[train]', or set training.tensorboard=false."
        ) from error
    return SummaryWriter(str(folder), purge_step=first_step)
