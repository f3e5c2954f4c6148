"""JSON and YAML of whatever origin, read within limits: no file exhausts the memory, the stack or one's patience."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from video_mask2former.messages import shortened

MAX_DEPTH = 60
"""Of containers inside each other."""

MAX_VALUES = 200_000
"""Of a configuration, those that YAML's aliases repeat counted each time."""

MAX_YAML_LENGTH = 2**19
"""Characters: five seconds of PyYAML at worst."""


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
