"""Damaging files on purpose, the same way for the same seed: bytes, documents (JSON and YAML), lines of text."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import yaml

# What a value is replaced by: other types, edges of number types, text that programs stumble over
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**12,
    10**30,
    10**4000,
    0.5,
    1e300,
    -1e-300,
    float("nan"),
    float("inf"),
    "",
    "0",
    "x",
    "[/red]",
    "a\nb\x1b[2J\x00",
    "\ud800",
    "ü" * 50,
    "y" * 1_000_000,
    [],
    {},
    [None],
    [[]],
    {"": 0},
    [0] * 5000,
    {"size": [3, 4], "counts": "d0"},
    ["a", 1, None],
    "module:Class",
    "os:system",
    "1/0",
    "../../../../etc/passwd",
    "2001-13-45",
    "~",
    "1e999999999",
)
DEPTH = 3000


def mutate_document(rng: random.Random, document: Any) -> Any:
    """A copy with one to three places changed: another value, a key less or twice, an entry moved or repeated."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            break
        container, key = rng.choice(places)
        _change(rng, container, key)
    return document


def dump_json(rng: random.Random, document: Any) -> bytes:
    """The document as JSON; now and then so deep, torn or strange that it is none."""
    text = json.dumps(document, ensure_ascii=rng.random() < 0.9)
    kind = rng.random()
    if kind < 0.04:
        text = text.replace(":", ":" + "[" * DEPTH, 1)
    elif kind < 0.08:
        text = text.replace(":", ": " + '{"a":' * DEPTH + "1" + "}" * DEPTH + ',"b":', 1)
    elif kind < 0.12:
        return mutate_bytes(rng, text.encode("utf-8", "surrogatepass"))
    elif kind < 0.14:
        text = "[" * DEPTH + "]" * DEPTH
    elif kind < 0.16:
        text = text.replace("1", "9" * 5000, 1)
    return text.encode("utf-8", "surrogatepass")


def dump_yaml(rng: random.Random, document: Any) -> bytes:
    """The document as YAML; now and then with what only YAML has."""
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    kind = rng.random()
    if kind < 0.03:
        lines = ["x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1]"]
        lines += [f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 9)}]" for level in range(1, 12)]
        text = "\n".join(lines) + "\n" + text
    elif kind < 0.05:
        text = "model: &m {backbone: *m}\n" if rng.random() < 0.5 else text + "\nmodel: &m [*m]\n"
    elif kind < 0.08:
        text = text.replace(": ", ": " + rng.choice("[{") * DEPTH, 1)
    elif kind < 0.11:
        text += rng.choice(
            ("\n<<: {a: 1}\n", "\nz: !!python/object/apply:os.system [ls]\n", "\n? [a]\n: 1\n", "\n\tq: 1\n")
        )
    elif kind < 0.13:
        text += "\nk: " + "1:" * 100_000 + "1\n"
    elif kind < 0.16:
        return mutate_bytes(rng, text.encode("utf-8", "surrogatepass"))
    return text.encode("utf-8", "surrogatepass")


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bits flipped, parts cut, doubled, zeroed or overwritten with edges of number types."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not content:
            break
        at = _place(rng, len(content))
        size = rng.choice((1, 2, 4, 8, 64, 512))
        kind = rng.randrange(7)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[at:]
        elif kind == 2:
            del content[at : at + size]
        elif kind == 3:
            content[at:at] = content[at : at + size]
        elif kind == 4:
            content[at : at + size] = bytes(size)
        elif kind == 5:
            content[at : at + size] = rng.randbytes(size)
        else:
            content[at : at + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", b"\0\0\0\0")
            )
    return bytes(content)


def mutate_text(rng: random.Random, text: str) -> bytes:
    """Words of text changed, lines lost or doubled, or its bytes damaged."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, text.encode())
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    words = lines[at].split(" ")
    edges = (*VALUES[:-12], "99999999999999999999", "-5", "1e5", "\u0663")
    words[rng.randrange(len(words))] = str(rng.choice(edges))[:2_000_000]
    lines[at] = " ".join(words)
    if rng.random() < 0.2:
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _place(rng: random.Random, length: int) -> int:
    """Anywhere, the beginning (where headers are) as often as all the rest."""
    return rng.randrange(min(length, 256)) if rng.random() < 0.5 else rng.randrange(length)


def _places(document: Any) -> list[tuple[Any, Any]]:
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else list(range(len(item))) if isinstance(item, list) else []
        for key in keys:
            places.append((item, key))
            waiting.append(item[key])
    return places


def _change(rng: random.Random, container: Any, key: Any) -> None:
    kind = rng.random()
    if kind < 0.6:
        container[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind < 0.7:
        del container[key]
    elif kind < 0.8 and isinstance(container[key], (int, float)) and not isinstance(container[key], bool):
        container[key] = rng.choice((-container[key], container[key] * 10**9, container[key] + 1, container[key] - 1))
    elif kind < 0.9:
        container[key] = [container[key]] if rng.random() < 0.5 else {"a": container[key]}
    elif isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    else:
        container[str(key) + rng.choice(("s", "_", "."))] = container[key]
