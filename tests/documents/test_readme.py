"""Runs what the README shows, as it is written, in a folder with small stand-ins for its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from code_blocks import CodeBlock, code_blocks

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

# Too large for a test: where continuous integration runs it
STAGES = {"pip install .": "make package", "make demo": "make demo", "make test": "make test"}
# What asks for a machine or a time that a test has not, and what is run instead; all else is run to the letter
SMALLER = {
    "--num-gpus 8": "training.max_steps=1 training.batch_size=1 data.short_sides=[64] data.num_workers=0",
}
# What the text says a command leaves behind
PROMISED = {
    "predict in.mp4": [f"in/{name}" for name in ("overlay.mp4", "tracks.json", "results.json", "contact_sheet.png")],
    "evaluate --annotations": ["metrics.json", "report.html"],
}
# What the reader has at hand
AT_HAND = "import torch\nframes = torch.zeros(1, 2, 3, 64, 96)\n"


@pytest.mark.parametrize("block", code_blocks(README, "bash"), ids=lambda block: block.name)
def test_commands(block: CodeBlock, run_in_workplace, workplace: Path) -> None:
    commands = [command for command in block.commands if command not in STAGES]
    script = "\n".join(commands)
    for words, replacement in SMALLER.items():
        script = script.replace(words, replacement)
    run_in_workplace("bash", "-euxo", "pipefail", "-c", script)
    promised = {name for words, names in PROMISED.items() if words in script for name in names}
    assert not {name for name in promised if not (workplace / "out" / name).is_file()}


def test_python(run_in_workplace) -> None:
    script = AT_HAND + "".join(block.text for block in code_blocks(README, "python"))
    run_in_workplace("python", "-c", script)


def test_what_is_not_run_here_is_a_stage_of_continuous_integration() -> None:
    stages = (ROOT / ".ci" / "run").read_text().splitlines()
    assert {f"stage {stage}" for stage in STAGES.values()} <= set(stages)


def test_every_exception_is_needed() -> None:
    commands = [command for block in code_blocks(README, "bash") for command in block.commands]
    assert set(STAGES) <= set(commands)
    assert all(any(words in command for command in commands) for words in (*SMALLER, *PROMISED))
