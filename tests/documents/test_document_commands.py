"""What the documents show must exist: commands, options, scripts, configurations, names of the package."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
from code_blocks import CodeBlock, code_blocks

import video_mask2former as vm2f
from video_mask2former.api import DEMO_NAME
from video_mask2former.cli import make_parser
from video_mask2former.cli.detectron2_overrides import normalise_overrides
from video_mask2former.config import Config
from video_mask2former.recipes.overrides import override
from video_mask2former.recipes.source import read_config, shipped_configs

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "datasets/ytvis/*.md", "tools/**/*.md")
    for path in ROOT.glob(pattern)
)
COMMANDS = [block for page in PAGES for block in code_blocks(page, "bash", "sh", "console", "")]
PYTHON = [block for page in PAGES for block in code_blocks(page, "python")]
OUR_COMMAND = re.compile(r"(?:^|.* -m )video[-_]mask2former (?P<words>.*)")
OUR_SCRIPT = re.compile(r"^python (?P<script>(?:datasets|tools|examples)/\S+)(?P<words>.*)")


def block_name(block: CodeBlock) -> str:
    return block.name


def without_variables(command: str) -> str:
    """The command without variables that are set before it."""
    return re.sub(r"^(?:[A-Z0-9_]+=\S+ +)+", "", command)


@pytest.mark.parametrize("block", COMMANDS, ids=block_name)
def test_commands(block: CodeBlock) -> None:
    for command in map(without_variables, block.commands):
        if found := OUR_COMMAND.match(command):
            check_command(shlex.split(found["words"]))
        elif found := OUR_SCRIPT.match(command):
            check_script(ROOT / found["script"], shlex.split(found["words"]))


def check_command(words: list[str]) -> None:
    """The parser takes it, and the options of the configuration at its end are options."""
    arguments = make_parser().parse_args(words)
    name = getattr(arguments, "config", None)
    is_shipped = name in shipped_configs()
    assert is_shipped or not name or name == DEMO_NAME or name.endswith("/") or Path(name).suffix, name
    overrides = normalise_overrides([word for word in words if re.match(r"[\w.]+=", word)])
    override(read_config(name) if is_shipped else Config(), overrides)


def check_script(script: Path, words: list[str]) -> None:
    """It is there, and its source names the options."""
    source = script.read_text(encoding="utf-8")
    if "add_argument" in source:
        options = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert not {option for option in options if f'"{option}"' not in source}


@pytest.mark.parametrize("block", PYTHON, ids=block_name)
def test_names_in_python(block: CodeBlock) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(vm2f.__name__):
            module = importlib.import_module(node.module or "")
            assert not {name.name for name in node.names if not hasattr(module, name.name)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vm2f":
            assert hasattr(vm2f, node.attr), f"vm2f.{node.attr}"


def test_there_are_documents() -> None:
    assert {"README", "inference", "training"} <= {block.document.stem for block in COMMANDS}
    assert {"README", "inference"} <= {block.document.stem for block in PYTHON}
