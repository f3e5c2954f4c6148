"""Finds the code that Markdown shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<fence>```+)(?P<language>\w*).*?\n(?P<text>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """What to call it in the list of tests."""
        return f"{self.document.stem}-line{self.line}"

    @property
    def commands(self) -> list[str]:
        """The command lines, put together where they go over several, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [command for line in lines if (command := re.sub(r"(^|\s+)#\s.*", "", line).strip())]


def code_blocks(document: Path, *languages: str) -> list[CodeBlock]:
    """The fenced blocks of a document in these languages, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        CodeBlock(document, text.count("\n", 0, match.start()) + 1, match["language"], match["text"])
        for match in FENCE.finditer(text)
        if match["language"] in languages
    ]
