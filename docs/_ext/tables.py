"""Tables of the documentation that are made from the code, as Markdown, so that they cannot go stale."""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import os
import re
import types
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from video_mask2former.cli import make_parser
from video_mask2former.config import Config, InferenceSettings, PartConfig, Section
from video_mask2former.config.schema import fields_of
from video_mask2former.convert import FORMATS, Concatenation, Ignored, Rename
from video_mask2former.convert.detectron2_keys import DEFAULTS, KEYS, Built, Combined, Option, Unused
from video_mask2former.option_values import Range, is_plain
from video_mask2former.recipes.model import PROVIDED, complete_config
from video_mask2former.recipes.part_options import REQUIRED, PartOption, part_options
from video_mask2former.recipes.parts import KINDS, PartKind
from video_mask2former.recipes.published_weights import UNKNOWN, published_weights
from video_mask2former.recipes.source import read_config, shipped_configs

ROOT = Path(__file__).resolve().parents[2]
PUBLIC_CONFIG = "video_mask2former.config"
# Files of the repository that are a page here
PAGES_OF_FILES = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "DECISIONS.md": "decisions.md",
    "README.md": "index.md",
    "datasets/ytvis/README.md": "datasets.md",
}


def option_table(section: Section) -> str:
    """The options of one section of the configuration, without those of the sections inside it."""
    metadata = {field.name: field.metadata for field in dataclasses.fields(section)}
    rows = []
    for name, hint, doc in fields_of(type(section)):
        value = getattr(section, name)
        if isinstance(value, Section) and not isinstance(value, PartConfig):
            continue
        plain = value.name if isinstance(value, PartConfig) else list(value) if isinstance(value, tuple) else value
        rows.append((code(name), kind_of(hint) + range_of(metadata[name]), code(yaml_text(plain)), doc))
    return markdown_table(("option", "kind", "default", "meaning"), rows)


def sections(section: Section, prefix: str = "") -> dict[str, Section]:
    """Dotted name to value, of all sections inside a section."""
    found: dict[str, Section] = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section) and not isinstance(value, PartConfig):
            found[prefix + field.name] = value
            found |= sections(value, f"{prefix}{field.name}.")
    return found


def configuration_table() -> str:
    """The shipped configurations, with what tells them apart."""
    rows = []
    for name in shipped_configs():
        config = complete_config(read_config(name))
        inference = config.inference
        mode = inference.mode if config.tracker is None else f"{inference.mode}, {config.tracker.name}"
        rows.append(
            (
                code(name),
                f"{config.model.num_classes}",
                f"{config.model.options.get('num_queries', '')}",
                f"{config.data.num_frames}",
                mode if config.task.name == "instance" else config.task.name,
                f"{inference.short_side}",
            )
        )
    head = ("name", "classes", "queries", "training frames", "inference", "short side")
    return markdown_table(head, rows)


def published_weights_table() -> str:
    """The published checkpoints, a table for each family."""
    parts = []
    for family in dict.fromkeys(each.family for each in published_weights()):
        of_family = [each for each in published_weights() if each.family == family]
        first = of_family[0]
        page = first.page if first.page == UNKNOWN else f"[listed by the authors]({first.page})"
        note = f"; {first.note}" if first.note else ""
        rows = []
        for each in of_family:
            shown = code(each.hub_address) if each.hub_address else "address"
            target = UNKNOWN if each.address == UNKNOWN else f"[{shown}]({each.address})"
            rows.append((code(each.config), each.results, target, each.md5_prefix))
        head = f"**{family}**: licence {first.licence}, {page}{note}"
        parts.append(f"{head}\n\n" + markdown_table(("configuration", "published, percent", "where", "MD5"), rows))
    return "\n\n".join(parts)


def detectron2_option_table() -> str:
    """The keys of detectron2 that are one option here; the published default shows how values are changed."""
    rows = []
    for key, rule in KEYS.items():
        if isinstance(rule, Option):
            has_default = key in DEFAULTS
            theirs = code(yaml_text(DEFAULTS[key])) if has_default else ""
            ours = code(yaml_text(rule.convert(DEFAULTS[key]))) if has_default else ""
            rows.append((code(key), code(rule.name), theirs, ours))
    return markdown_table(("detectron2 key", "option here", "published default", "the same here"), rows)


def detectron2_combined_table() -> str:
    """The keys of detectron2 that make options together with others."""
    rows = [(code(key), ", ".join(map(code, rule.options))) for key, rule in KEYS.items() if isinstance(rule, Combined)]
    return markdown_table(("detectron2 key", "goes into"), rows)


def detectron2_built_table() -> str:
    """The keys of detectron2 that may have one value only."""
    rows = [
        (code(key), " or ".join(code(yaml_text(value)) for value in rule.values), rule.reason)
        for key, rule in KEYS.items()
        if isinstance(rule, Built)
    ]
    return markdown_table(("detectron2 key", "must be", "because"), rows)


def detectron2_unused_table() -> str:
    """The keys of detectron2 that are read and say nothing here."""
    rows = [(code(key), rule.reason) for key, rule in KEYS.items() if isinstance(rule, Unused)]
    return markdown_table(("detectron2 key", "why it says nothing"), rows)


def checkpoint_table(name: str) -> str:
    """Names of parameters in one kind of checkpoint and here."""
    key_map = next(candidate.key_map for candidate in FORMATS if candidate.name == name)
    rows = []
    for entry in key_map.entries:
        if isinstance(entry, Rename):
            rows.append((code(entry.theirs), code(entry.ours)))
        elif isinstance(entry, Concatenation):
            rows.append((" + ".join(map(code, entry.theirs)), code(entry.ours)))
        else:
            assert isinstance(entry, Ignored)
            rows.append((code(entry.theirs), f"not taken: {entry.reason}"))
    table = markdown_table((f"in a {name} checkpoint", "here"), rows)
    if not key_map.aliases:
        return table
    aliases = markdown_table(("older name", "read as"), [(code(a.theirs), code(a.ours)) for a in key_map.aliases])
    return f"{table}\n\n{aliases}"


def format_table() -> str:
    """The kinds of checkpoint that are recognised."""
    rows = [
        (candidate.name, "a backbone" if candidate.is_backbone else "a whole model", code(candidate.marker))
        for candidate in FORMATS
    ]
    return markdown_table(("kind", "holds", "recognised by a key that has"), rows)


def command_tables(command: str) -> str:
    """What ``video-mask2former COMMAND --help`` says, as text and tables; of a command with tools, that of each."""
    parser = subparsers_of(make_parser())[command]
    tools = subparsers_of(parser)
    parts = parser_tables(parser) if not tools else [described(parser)]
    for name, tool in tools.items():
        parts += [f"### {command} {name}", *parser_tables(tool)]
    return "\n\n".join(parts)


def subparsers_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser, by name."""
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0]) if found else {}


def parser_tables(parser: argparse.ArgumentParser) -> list[str]:
    """What one parser says: its description, and a table for each group of arguments."""
    parts = [described(parser)]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if actions:
            title = {"positional arguments": "arguments"}.get(group.title or "", group.title or "")
            rows = [(flags_of(action), help_of(parser, action)) for action in actions]
            parts.append(f"**{title}**" + (f": {group.description}" if group.description else ""))
            parts.append(markdown_table(("", "meaning"), rows))
    return parts


def described(parser: argparse.ArgumentParser) -> str:
    """The description, and what stands below the options; examples and lists as blocks of code."""
    parts = []
    for text in f"{parser.description or ''}\n\n{parser.epilog or ''}".strip().split("\n\n"):
        head, colon, block = text.partition(":\n")
        if colon and block.startswith("  "):
            language = "bash" if head == "examples" else "text"
            code_text = "\n".join(line.removeprefix("  ") for line in block.splitlines())
            parts.append(f"{head[:1].upper()}{head[1:]}:\n\n```{language}\n{code_text}\n```")
        else:
            parts.append(words_as_code(text))
    return "\n\n".join(parts)


def flags_of(action: argparse.Action) -> str:
    """How an argument is written, with what stands for its value."""
    if action.choices is not None and action.metavar is None:
        value = " or ".join(map(str, action.choices))
    else:
        metavar = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
        value = " ".join(metavar) if isinstance(metavar, tuple) else metavar
    if not action.option_strings:
        return code(value or action.dest)
    return ", ".join(code(f"{flag} {value}".strip() if action.nargs != 0 else flag) for flag in action.option_strings)


def help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help of an argument with its default in place."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return words_as_code(text).replace("|", "\\|")


def words_as_code(text: str) -> str:
    """Flags, and words with what Markdown would take for marks, as code."""
    return re.sub(
        r"(?<![\w`])(--[a-z][\w-]*|[\w/]+\.(?:html|jsonl?|mp4|png|zip)\b|[^\s()]*[<*_][^\s(),;:]*[^\s(),;:.])",
        r"`\1`",
        text,
    )


def configuration_reference() -> str:
    """All sections with their tables, those of the parts last."""
    parts = [f"## The top level\n\n{option_table(Config())}"]
    for name, section in sections(Config()).items():
        kind = type(section)
        public = f"{PUBLIC_CONFIG}.{kind.__name__}"
        declaration = f"```{{py:class}} {public}\n:canonical: {kind.__module__}.{kind.__name__}\n```"
        doc = unindented(kind.__doc__ or "")
        # InferenceSettings has methods, too, and a place in the reference
        head = [] if isinstance(section, InferenceSettings) else [declaration]
        parts.append("\n\n".join([f"## {name}", doc, *head, option_table(section)]))
    return "\n\n".join([*parts, *map(part_tables, KINDS)])


def part_tables(kind: PartKind) -> str:
    """The parts of one kind that have a name, each with the options that its constructor takes."""
    parts = [f"## Parts: {kind.title}s"]
    for name, part in kind.known.items():
        rows = [
            (code(option.name), kind_of(option.hint), default_of(option), option.doc)
            for option in part_options(part).values()
            if option.name not in PROVIDED
        ]
        table = markdown_table(("option", "kind", "default", "meaning"), rows) if rows else "It has no options."
        summary = unindented(part.__doc__ or "").partition("\n\n")[0]
        parts.append(f"### {kind.title} `{name}`\n\n{summary}\n\n{table}")
    return "\n\n".join(parts)


def default_of(option: PartOption) -> str:
    """The default of a part's option as YAML; empty where there is none, or it is not a YAML value."""
    value = list(option.default) if isinstance(option.default, tuple) else option.default
    return code(yaml_text(value)) if option.default is not REQUIRED and is_plain(value) else ""


def kind_of(hint: Any) -> str:
    """A type as people write its values in YAML."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        ranges = [range_of(vars(note)) for note in notes if isinstance(note, Range)]
        return kind_of(inner) + "".join(ranges)
    if get_origin(hint) in (list, collections.abc.Sequence):
        return f"list of {kind_of(get_args(hint)[0])}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(kind_of(member) for member in get_args(hint) if get_origin(member) is not Callable)
    if get_origin(hint) is Literal:
        return " or ".join(code(yaml_text(choice)) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        members = get_args(hint)
        if members[-1] is Ellipsis and members[0] is PartConfig:
            return "list of parts"
        if members[-1] is Ellipsis:
            return f"list of {kind_of(members[0])}"
        return f"{len(members)} × {kind_of(members[0])}"
    names: dict[Any, str] = {
        PartConfig: "part",
        bool: "true or false",
        int: "integer",
        float: "number",
        str: "text",
        types.NoneType: "null",
    }
    return names.get(hint, "its own options" if dataclasses.is_dataclass(hint) else "part")


def range_of(metadata: Any) -> str:
    """The allowed range of a number, for the end of its kind."""
    low, high = metadata["at_least"], metadata["at_most"]
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", at least {low}"
    return "" if high is None else f", at most {high}"


def yaml_text(value: object) -> str:
    """A value as YAML, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def code(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def unindented(text: str) -> str:
    """A docstring's paragraphs, its double backquotes as Markdown has them."""
    return "\n".join(line.strip() for line in text.splitlines()).replace("``", "`")


def repository_page(name: str) -> str:
    """A Markdown file from outside of this folder, its links as they are from here."""
    file = ROOT / name

    def relink(match: re.Match[str]) -> str:
        path, hash_sign, anchor = match[1].partition("#")
        target = (file.parent / path).resolve().relative_to(ROOT).as_posix()
        page = PAGES_OF_FILES.get(target, os.path.relpath(target, "docs"))
        return f"]({page}{hash_sign}{anchor})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", relink, file.read_text(encoding="utf-8"))


TABLES: dict[str, Callable[..., str]] = {
    "checkpoint-formats": format_table,
    "checkpoint-keys": checkpoint_table,
    "command": command_tables,
    "configuration-reference": configuration_reference,
    "detectron2-built": detectron2_built_table,
    "detectron2-combined": detectron2_combined_table,
    "detectron2-options": detectron2_option_table,
    "detectron2-unused": detectron2_unused_table,
    "published-weights": published_weights_table,
    "repository-page": repository_page,
    "shipped-configurations": configuration_table,
}
"""What the directive ``generated`` can be asked for; the words after the name are arguments."""
