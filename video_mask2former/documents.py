"""JSON and YAML of whatever origin, read within limits: no file exhausts the memory, the stack or one's patience."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from video_mask2former.messages import shortened

MAX_DEPTH = 60
"""Of containers inside each other."""

MAX_VALUES = 200_000
"""Of a configuration, those that YAML's aliases repeat counted each time."""

MAX_YAML_LENGTH = 2**19
"""Characters: five seconds of PyYAML at worst."""

ARRAY_CHUNK = 2**20
"""Bytes of a long array that are read at once."""

_JSON_SPACE = " \t\n\r"


class PlainLoader(yaml.SafeLoader):
    """YAML as people expect it: ``1e-4`` is a number, and a key that occurs twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # every line of it may double what the one before holds
                raise _error("merge keys (<<) are not read; write the options out", key_node)
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _error("a key must be a name", key_node)
            if key in seen:
                raise _error(f"key {shortened(key)} occurs twice", node)
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 wants a dot and a sign in the exponent; YAML 1.2 and people do not.
PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path, loader: type[yaml.SafeLoader] = PlainLoader) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; an empty file is an empty one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not YAML, repeats a key, holds more than plain values, or exceeds the limits.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}.")
    values = parse_yaml(read_text(path, 4 * MAX_YAML_LENGTH), f"{path} is not a YAML file that can be read", loader)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"the top level of {path} must be a mapping of sections, got {type(values).__name__}.")
    return values


def read_layers(
    path: Path,
    base_key: str,
    merge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    check: Callable[[dict[str, Any], Path], dict[str, Any]] = lambda values, path: values,
    loader: type[yaml.SafeLoader] = PlainLoader,
) -> dict[str, Any]:
    """Read a YAML file and the files that it builds on, each once.

    Args:
        path: The file.
        base_key: Key of the file or list of files, relative to the one that names them, that a file builds on.
        merge: Makes one of the values of an earlier and a later file.
        check: What the values of a single file are, without ``base_key``; may raise.
        loader: What makes values of YAML.

    Raises:
        FileNotFoundError: If one of the files does not exist.
        ValueError: If one of them is no YAML, or builds on itself.
    """
    done: dict[str, dict[str, Any]] = {}

    def read(path: Path, readers: tuple[str, ...]) -> dict[str, Any]:
        place = os.path.realpath(path)
        chain = (*readers, place)
        if place in readers:
            raise ValueError(f"{base_key} leads back to a file that is being read: {' -> '.join(chain)}.")
        if len(chain) > MAX_DEPTH:
            raise ValueError(f"{base_key} leads through more than {MAX_DEPTH} files, from {chain[0]} to {place}.")
        if place not in done:
            values = read_yaml(path, loader)
            bases = values.pop(base_key, None)
            bases = [] if bases is None else [bases] if isinstance(bases, str) else bases
            if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
                raise ValueError(f"{base_key} in {path} must be a file or a list of files, got {shortened(bases)}.")
            own = check(values, path)
            merged: dict[str, Any] = {}
            for base in bases:
                merged = merge(merged, read(path.parent / base, chain))
            done[place] = merge(merged, own)
        return done[place]

    return read(path, ())


def parse_yaml(text: str, problem: str, loader: type[yaml.SafeLoader] = PlainLoader) -> Any:
    """Plain values of YAML text.

    Args:
        text: The YAML.
        problem: How the error message begins: what is not YAML, and where.
        loader: What makes values of it.

    Raises:
        ValueError: If it is not YAML, repeats a key, holds more than plain values, or exceeds the limits.
    """
    if len(text) > MAX_YAML_LENGTH:
        raise ValueError(f"{problem}: it has {len(text)} characters, more than {MAX_YAML_LENGTH}.")
    try:
        values = yaml.load(text, Loader=loader)
    except RecursionError:
        raise ValueError(f"{problem}: it is nested too deeply.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ValueError(f"{problem}: {_reason(error)}") from error
    return check_plain(values, problem)


def read_json(path: Path, expected: type = dict, kind: str = "JSON file") -> Any:
    """Read a JSON file whose top level is of one type.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or something else than expected.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {kind} {path}.")
    content = parse_json(read_text(path), f"{path} is not a JSON file")
    if not isinstance(content, expected):
        name = "an object" if expected is dict else "an array"
        raise ValueError(f"{path} must hold {name}, as every {kind} does, got a {type(content).__name__}.")
    return content


def read_json_array(path: Path, kind: str = "JSON file") -> Iterator[Any]:
    """The elements of a JSON file whose top level is an array, one by one: of the text, little more than one is held.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or something else than an array. Elements before the mistake are given first.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {kind} {path}.")
    with path.open("rb") as file:
        try:
            yield from _elements(file, path, kind)
        except UnicodeDecodeError:
            read_text(path)  # says where
            raise


def _elements(file: BinaryIO, path: Path, kind: str) -> Iterator[Any]:
    decoder, as_text = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8-sig")()
    text, has_begun, is_any_done = "", False, False
    num_bytes = ARRAY_CHUNK
    while more := file.read(num_bytes):
        text += as_text.decode(more)
        position = 0
        if not has_begun:
            position = _after_space(text, 0)
            if position == len(text):
                continue
            if text[position] != "[":
                break
            has_begun, position = True, position + 1
        first = position
        while True:
            try:
                element, end = decoder.raw_decode(text, _after_space(text, position))
            except (ValueError, RecursionError):
                break  # unfinished, or wrong
            end = _after_space(text, end)
            if text[end : end + 1] != ",":
                break  # the last one, or the text goes on
            yield element
            is_any_done, position = True, end + 1
        # what is longer than a chunk is not looked at again and again
        num_bytes = ARRAY_CHUNK if position > first else 2 * len(text) + ARRAY_CHUNK
        text = text[position:]
    text += as_text.decode(b"", final=True)
    try:
        rest = json.loads("[" + text) if has_begun else None
    except (ValueError, RecursionError):
        rest = None
    if rest is None or (is_any_done and not rest):
        read_json(path, list, kind)  # says what is wrong, and where
        raise ValueError(f"{path} changed while it was read. Try again.")
    yield from rest


def _after_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in _JSON_SPACE:
        position += 1
    return position


def parse_json(text: str | bytes, problem: str) -> Any:
    """The value of JSON text; ``problem`` begins the error message, as in :func:`parse_yaml`.

    Raises:
        ValueError: If it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{problem}: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{problem}: {error}. Was it cut off while it was written?") from error


def read_text(path: Path, max_bytes: int | None = None) -> str:
    """The text of a file in UTF-8, with or without the mark that some editors put in front.

    Raises:
        ValueError: If it is not text, or larger than ``max_bytes``.
    """
    num_bytes = path.stat().st_size
    if max_bytes is not None and num_bytes > max_bytes:
        raise ValueError(f"{path} is too large for a text file that people write ({num_bytes} bytes).")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8 ({error.reason} at byte {error.start}).") from error


def check_plain(value: Any, problem: str) -> Any:
    """The same value, if it is made of lists, mappings, text and numbers only, and within the limits.

    Raises:
        ValueError: If it is not; ``problem`` begins the message.
    """
    remaining = [(value, 0)]
    num_values = 0
    while remaining:
        item, depth = remaining.pop()
        num_values += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"{problem}: it is nested too deeply, or contains itself.")
        if num_values > MAX_VALUES:
            raise ValueError(f"{problem}: it holds more than {MAX_VALUES} values.")
        if isinstance(item, Mapping):
            remaining += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, (list, tuple)):
            remaining += [(part, depth + 1) for part in item]
        elif isinstance(item, int) and not -(2**63) <= item < 2**63:
            raise ValueError(f"{problem}: {shortened(item)} is beyond 64 bits.")
        elif item is not None and not isinstance(item, (bool, int, float, str)):
            raise ValueError(f"{problem}: it holds a {type(item).__name__}; put it in quotes if text is meant.")
    return value


def _error(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _reason(error: Exception) -> str:
    """What is wrong and where, on one line; PyYAML itself takes several."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    text = f"{error.context}, {error.problem}" if error.context else error.problem
    return f"{text} (line {mark.line + 1}, column {mark.column + 1})"
