"""The pages in docs/: files, options and names that their text mentions exist, and the diagram is the script's."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from video_mask2former.config import Config, field_docs

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# Folders of the repository, and of the package; datasets/NAME is where people put theirs
FILES = re.compile(r"`((?:tests|tools|docs|examples|configs|ops|datasets/ytvis)/[\w./-]*\w)")
OPTIONS = re.compile(r"[`' ]((?:model|loss|data|training|inference)(?:\.[a-z_0-9]+)+)(?:=[^`]*)?`")
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
    known = field_docs(Config)
    named = OPTIONS.findall(page.read_text(encoding="utf-8"))
    assert [option for option in named if not any(f"{name}.".startswith(f"{option}.") for name in known)] == []


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
