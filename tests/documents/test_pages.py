"""The pages in docs/: files, options and names that their text mentions exist, and the diagram is the script's."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from video_mask2former.config import Config, field_docs
from video_mask2former.recipes.part_options import part_options
from video_mask2former.recipes.parts import RESERVED, SEGMENTER, SHARED, TASK, TRACKER, kind_of

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# Folders of the repository, and of the package; datasets/NAME is where people put theirs
FILES = re.compile(r"`((?:tests|tools|docs|examples|configs|ops|datasets/ytvis)/[\w./-]*\w)")
OPTIONS = re.compile(r"[`' ]((?:model|tracker|task|loss|data|training|inference)(?:\.[a-z_0-9]+)+)(?:=[^`]*)?`")
# Not in quotes: file formats have such names, too
NAMES = re.compile(r"(?<![\"\w])video_mask2former(?:\.[A-Za-z_]\w*)+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_exist(page: Path) -> None:
    named = FILES.findall(page.read_text(encoding="utf-8"))
    assert [
        name for name in named if not any((root / name).exists() for root in (ROOT, ROOT / "video_mask2former"))
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_options_exist(page: Path) -> None:
    known = {*field_docs(Config), *part_keys()}
    named = OPTIONS.findall(page.read_text(encoding="utf-8"))
    assert [option for option in named if not any(f"{name}.".startswith(f"{option}.") for name in known)] == []


def part_keys() -> Iterator[str]:
    """Dotted names of the options of all parts that have a name."""
    yield from (f"model.{name}" for name in SHARED)
    for place, kind in (("model", SEGMENTER), ("tracker", TRACKER), ("task", TASK)):
        for part in kind.known.values():
            for option in part_options(part).values():
                yield f"{place}.{option.name}"
                inner = kind_of(option)
                for inner_part in inner.known.values() if inner else ():
                    yield from (f"{place}.{option.name}.{name}" for name in (*RESERVED, *part_options(inner_part)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_exist(page: Path) -> None:
    for name in NAMES.findall(page.read_text(encoding="utf-8")):
        resolve(name)


def resolve(name: str) -> None:
    """Import the longest part of a dotted name that is a module, and look up the rest."""
    module, names = name, []
    while importlib.util.find_spec(module) is None:
        module, _, last = module.rpartition(".")
        names.insert(0, last)
    found = importlib.import_module(module)
    for part in names:
        found = getattr(found, part)


def test_something_is_mentioned() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert all(len(pattern.findall(text)) >= 5 for pattern in (FILES, OPTIONS, NAMES))


def test_the_diagram_is_what_its_script_draws() -> None:
    images = ROOT / "docs" / "images"
    spec = importlib.util.spec_from_file_location("draw_architecture", images / "draw_architecture.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.draw() == (images / "architecture.svg").read_text(encoding="utf-8")
