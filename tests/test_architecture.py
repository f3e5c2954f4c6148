"""Imports point down: a room may use the rooms below it, never those above or beside it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import video_mask2former

PACKAGE = Path(video_mask2former.__file__).parent

# From the top; rooms of one row do not know each other. `recipes` makes the objects that `engine` is handed.
ROWS = [
    {"__init__", "__main__", "cli", "app", "integrations", "pretrained"},
    {"api"},
    {"recipes"},
    {"evaluation", "export"},
    {"engine"},
    {"inference"},
    {"tasks"},
    {"refinement"},
    {"tracking"},
    {"models", "losses", "data", "metrics", "visualization", "results", "convert"},
    {"ops", "video_io", "pages"},
    {
        "structures",
        "mask_logits",
        "messages",
        "kernel_library",
        "progress",
        "documents",
        "option_values",
        "config",
        "rle",
        "outlines",
        "remote_files",
        "distributed",
        "atomic",
        "_version",
    },
]
RANK = {room: len(ROWS) - index for index, row in enumerate(ROWS) for room in row}
# The bottom row may use itself, as may files of one room.
BOTTOM = RANK["structures"]
# Everything else is handed what it needs as plain arguments.
CONFIG_READERS = {"config", "recipes", "api", "cli", "integrations", "pretrained", "convert", "__init__"}
# These are handed the settings of inference, which people make in Python, too.
SETTINGS_READERS = {"inference", "tasks", "evaluation"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively; name the room"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts = [name.split(".") for name in names]
        rooms |= {part[1] for part in parts if part[0] == "video_mask2former" and len(part) > 1 and part[1] in RANK}
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    assert room in RANK, f"{room} has no row; give it one in this test"
    for other in imported_rooms(path) - {room}:
        assert other != "integrations" or room == "cli", f"{path.relative_to(PACKAGE)} imports an integration"
        is_allowed = RANK[other] < RANK[room] or RANK[room] == RANK[other] == BOTTOM or RANK[room] == len(ROWS)
        assert is_allowed, f"{path.relative_to(PACKAGE)} imports {other}, which is not below {room}"
        if other == "config":
            assert room in CONFIG_READERS | SETTINGS_READERS, (
                f"{path.relative_to(PACKAGE)} reads config; take plain arguments"
            )
