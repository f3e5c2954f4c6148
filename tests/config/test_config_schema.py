"""Sections of options: types, ranges, documentation."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest

from video_mask2former.config import Config, Section, field_docs, option
from video_mask2former.config.schema import construct, parse_section, to_mapping


@dataclass(frozen=True)
class Inner(Section):
    share: float = option(0.5, "A share.", at_least=0, at_most=1)


@dataclass(frozen=True)
class Outer(Section):
    count: int = option(1, "How many.", at_least=1)
    kind: Literal["a", "b", 3] = option("a", "Which.")
    sides: tuple[int, ...] = option((1,), "Sides.", at_least=1)
    size: tuple[int, int] | None = option(None, "Height and width.")
    name: str | None = option(None, "A name.")
    is_on: bool = option(False, "Whether.")
    inner: Inner = option(Inner(), "Inside.")  # noqa: RUF009 (makes a dataclass field)
    parts: tuple[Inner, ...] = option((), "Several.")


def make(values: dict[str, object]) -> Outer:
    return construct(Outer, parse_section(Outer, values, "file.yaml"))


def test_values_are_converted_to_the_declared_types():
    made = make({"sides": [2, 3], "size": [4, 5], "inner": {"share": 1}, "parts": [{"share": 0.25}, {}], "kind": 3})
    assert made == Outer(sides=(2, 3), size=(4, 5), inner=Inner(1.0), parts=(Inner(0.25), Inner()), kind=3)
    assert isinstance(made.inner.share, float)
    assert make({"size": None, "name": None}) == Outer()


def test_plain_values_read_back_to_an_equal_section():
    made = make({"sides": [2, 3], "parts": [{"share": 0.25}], "name": "x"})
    assert make(to_mapping(made)) == made


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 2.0}, "count must be an integer, got 2.0 in file.yaml"),
        ({"count": True}, "count must be an integer, got True"),
        ({"count": "2"}, "count must be an integer, got '2'"),
        ({"is_on": 1}, "is_on must be true or false, got 1"),
        ({"kind": "c"}, "kind must be one of 'a', 'b', 3, got 'c'"),
        ({"sides": 3}, "sides must be a list, each element an integer, got 3"),
        ({"sides": [1, "x"]}, r"sides\[1\] must be an integer, got 'x'"),
        ({"size": [1, 2, 3]}, r"size must be a list of 2: an integer, an integer, got \[1, 2, 3\]"),
        ({"name": 5}, "name must be a string, got 5"),
        ({"inner": 5}, "inner must be a mapping, got 5"),
        ({"inner": {"share": "x"}}, "inner.share must be a number, got 'x'"),
        ({"parts": [{"shre": 1}]}, "unknown config key 'parts.0..shre' in file.yaml; did you mean 'parts.0..share'"),
        ({"cuont": 1}, "unknown config key 'cuont' in file.yaml; did you mean 'count'"),
        ({"share": 1}, "unknown config key 'share' in file.yaml; did you mean 'inner.share'"),
        ({"zzzz": 1}, "the keys of the top level are count, kind"),
    ],
)
def test_wrong_values_are_named_with_their_place(values, message):
    with pytest.raises(ValueError, match=message):
        make(values)


@pytest.mark.parametrize(
    ("section", "arguments", "message"),
    [
        (Outer, {"count": 0}, "count must be at least 1, got 0. .How many"),
        (Outer, {"sides": (2, 0)}, "sides must be at least 1, got 0"),
        (Inner, {"share": 1.5}, "share must be at most 1, got 1.5"),
        (Inner, {"share": float("nan")}, "share must be at least 0, got nan"),
    ],
)
def test_ranges_are_checked_however_a_section_is_made(section, arguments, message):
    with pytest.raises(ValueError, match=message):
        section(**arguments)


def test_sections_are_immutable():
    with pytest.raises(FrozenInstanceError):
        Outer().count = 2


def test_every_option_of_the_configuration_is_documented():
    docs = field_docs(Config)
    assert "model.num_classes" in docs and "training.learning_rate" in docs
    assert [name for name, doc in docs.items() if not doc.strip().endswith(".")] == []
