"""The curves of a training run as one picture: losses, learning rate and metrics over steps."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from video_mask2former.atomic import atomic_path

Canvas = NDArray[np.uint8]
Series = Mapping[str, Sequence[tuple[float, float]]]

_LOSSES = ("loss", "loss_ce", "loss_mask", "loss_dice")
_METRICS = ("AP", "AP50", "AP75", "PQ", "mIoU")
_WIDTH, _HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 150, 36, 36  # margins around the axes
_COLOURS = ((180, 119, 31), (14, 127, 255), (44, 160, 44), (40, 39, 214), (189, 103, 148))  # BGR
_GREY, _BLACK = (225, 225, 225), (40, 40, 40)


def draw_curves(records: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> bool:
    """Draw the records of a ``metrics.jsonl`` as a PNG.

    Args:
        records: As read by :func:`~video_mask2former.engine.read_records`.
        path: The picture; replaced where there is one.

    Returns:
        Whether there was anything to draw.
    """
    evaluations = [{"step": record["step"], **record["evaluation"]} for record in records if "evaluation" in record]
    panels = [
        _panel("loss (log scale)", _series(records, _LOSSES), is_log=True),
        _panel("learning rate", _series(records, ("learning_rate",)), is_log=False),
        _panel("evaluation", _series(evaluations, _METRICS), is_log=False),
    ]
    drawn = [panel for panel in panels if panel is not None]
    if not drawn:
        return False
    encoded = cv2.imencode(".png", np.concatenate(drawn))[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
    return True


@dataclass(frozen=True)
class _Axis:
    """Maps values to pixels: ``low`` to pixel ``start``, ``high`` to pixel ``stop``."""

    low: float
    high: float
    start: int
    stop: int
    is_log: bool = False

    def pixel(self, value: float) -> int:
        value, low, high = (math.log10(x) if self.is_log else x for x in (value, self.low, self.high))
        return round(self.start + (value - low) / (high - low) * (self.stop - self.start))

    def ticks(self) -> list[float]:
        """Round values inside the axis: 1, 2 and 5 times powers of ten."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            return [m * 10.0**p for p in powers for m in (1, 2, 5) if self.low <= m * 10.0**p <= self.high]
        magnitude = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step = next(m * magnitude for m in (1, 2, 5, 10) if (self.high - self.low) / (m * magnitude) <= 6)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]


def _series(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Series:
    series = {}
    for name in names:
        points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
        if points:
            series[name] = points
    return series


def _panel(title: str, series: Series, is_log: bool) -> Canvas | None:
    if is_log:
        series = {name: kept for name, points in series.items() if (kept := [p for p in points if p[1] > 0])}
    if not series:
        return None
    values = [value for points in series.values() for _, value in points]
    last_step = max(step for points in series.values() for step, _ in points)
    low, high = (min(values) / 1.1, max(values) * 1.1) if is_log else (min(0.0, *values), max(*values, 1e-9) * 1.05)
    x_axis = _Axis(0, max(last_step, 1), _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis(low, high, _HEIGHT - _BOTTOM, _TOP, is_log)
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    _draw_grid(canvas, title, x_axis, y_axis)
    for index, (name, points) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        pixels = [(x_axis.pixel(step), y_axis.pixel(value)) for step, value in points]
        cv2.polylines(canvas, [np.array(pixels, np.int32)], False, colour, 2, cv2.LINE_AA)
        if len(pixels) <= 30:
            for pixel in pixels:
                cv2.circle(canvas, pixel, 3, colour, -1, cv2.LINE_AA)
        _write(canvas, f"{name} {points[-1][1]:.3g}", (_WIDTH - _RIGHT + 10, _TOP + 12 + 20 * index), colour)
    return canvas


def _draw_grid(canvas: Canvas, title: str, x_axis: _Axis, y_axis: _Axis) -> None:
    for tick in y_axis.ticks():
        y = y_axis.pixel(tick)
        cv2.line(canvas, (x_axis.start, y), (x_axis.stop, y), _GREY, 1)
        _write(canvas, f"{tick:.3g}", (8, y + 4), _BLACK)
    for tick in x_axis.ticks():
        x = x_axis.pixel(tick)
        cv2.line(canvas, (x, y_axis.start), (x, y_axis.stop), _GREY, 1)
        _write(canvas, f"{tick:g}", (x - 12, y_axis.start + 18), _BLACK)
    cv2.rectangle(canvas, (x_axis.start, y_axis.stop), (x_axis.stop, y_axis.start), _BLACK, 1)
    _write(canvas, title, (x_axis.start, y_axis.stop - 10), _BLACK)


def _write(canvas: Canvas, text: str, position: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
