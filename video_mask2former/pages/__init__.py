"""Pages for a browser, each one file that works from the disk: templates, and the style and script that they share."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from video_mask2former.atomic import atomic_path

_CHUNK = 3 * 2**18  # a multiple of three, so that pieces of base64 join
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(path: str | os.PathLike[str], template: str, **values: Any) -> None:
    """Write a page piece by piece, so that what iterables give is never in memory at once.

    Args:
        path: The page; it appears when it is complete.
        template: Name of a file beside this one.
        values: What the template is filled with; text is escaped.
    """
    pieces = _TEMPLATES.get_template(template).generate(**values)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="xmlcharrefreplace") as file:
        file.writelines(pieces)


def script_data(pieces: Iterable[str]) -> Iterator[Markup]:
    """Pieces of JSON as they may stand in a script element."""
    for piece in pieces:
        yield Markup(piece.replace("<", "\\u003c"))


def json_members(members: Iterable[tuple[str, Any | Iterable[str]]]) -> Iterator[str]:
    """A JSON object, piece by piece; an iterator among its values gives JSON text itself."""
    for number, (name, value) in enumerate(members):
        yield f"{', ' if number else '{'}{json.dumps(name)}: "
        if isinstance(value, Iterator):
            yield from value
        else:
            yield json.dumps(value)
    yield "}"


def data_url(path: Path, kind: str) -> Iterator[str]:
    """A file as the text of a JSON string with a data address, piece by piece.

    Args:
        path: The file.
        kind: Its MIME type.
    """
    yield f'"data:{kind};base64,'
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield base64.b64encode(piece).decode("ascii")
    yield '"'
