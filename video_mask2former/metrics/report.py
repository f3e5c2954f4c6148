"""The outcome of an evaluation, as tables and as a JSON file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from video_mask2former.atomic import atomic_path
from video_mask2former.messages import printable
from video_mask2former.metrics.average_precision import UNDEFINED

# figures that are numbers of things; all others are fractions
COUNTS = frozenset({"id_switches", "interruptions"})


@dataclass(frozen=True)
class Report:
    """Figures of one evaluation: fractions, -1 where undefined.

    Attributes:
        summary: The figures that are quoted, under their usual names.
        per_class: Class to its figure of the summary's first kind.
        groups: Further tables by name: breakdowns, identity measures.
        samples: Figures of single videos or images by name of the figure; for the file, not for the tables.
    """

    summary: Mapping[str, float]
    per_class: Mapping[str, float]
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    samples: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        further = {**self.groups, **self.samples}
        taken = {*self.summary, "per_class"} & set(further)
        if taken:
            raise ValueError(f"a group must not be called like a figure, got {sorted(taken)}.")
        for name, figures in {"summary": self.summary, "per_class": self.per_class, **further}.items():
            broken = [key for key, value in figures.items() if not math.isfinite(value)]
            if broken:
                raise ValueError(f"{name}: {broken[0]} must be finite, got {figures[broken[0]]}; use -1 for undefined.")

    def to_dict(self) -> dict[str, float | dict[str, float]]:
        """What the JSON file holds: the summary at the top, everything else under its own key."""
        groups = {name: dict(figures) for name, figures in {**self.groups, **self.samples}.items()}
        return {**self.summary, "per_class": dict(self.per_class), **groups}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file, whole or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def tables(self) -> list[Table]:
        """The figures as tables for a terminal; the summary last, where it is seen."""
        groups = [_wide_table(name.replace("_", " "), figures) for name, figures in self.groups.items()]
        return [self._class_table(), *groups, _wide_table("summary", self.summary)]

    def _class_table(self) -> Table:
        """Classes that can be measured, the best first."""
        table = _table(f"{next(iter(self.summary))} per class")
        table.add_column("class")
        table.add_column(next(iter(self.summary)), justify="right")
        measured = {name: value for name, value in self.per_class.items() if value != UNDEFINED}
        for name, value in sorted(measured.items(), key=lambda item: -item[1]):
            table.add_row(Text(printable(name)), format_figure(name, value))
        if len(measured) < len(self.per_class):
            table.add_row(f"({len(self.per_class) - len(measured)} not annotated)", "-")
        return table


def format_figure(name: str, value: float) -> str:
    """A figure as it is printed: a fraction with three decimals, counts as they are, a dash where undefined."""
    if name in COUNTS:
        return f"{value:.0f}"
    return "-" if value == UNDEFINED else f"{value:.3f}"


def _table(title: str) -> Table:
    """A table so narrow that twelve figures fit into 80 columns."""
    return Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)


def _wide_table(title: str, figures: Mapping[str, float]) -> Table:
    table = _table(title)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(*(format_figure(name, value) for name, value in figures.items()))
    return table
