"""Sphinx extension: the directive ``generated``, and references by the short names that docstrings use."""

from __future__ import annotations

import re
from itertools import dropwhile

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata
from tables import PAGES_OF_FILES, TABLES

LONE_LETTER = re.compile(r"^(\s*(?:\w+: )?)([A-Z])\.")


class Generated(SphinxDirective):
    """Insert one of ``TABLES``, made anew at every build.

    ::

        :::{generated} checkpoint-keys detectron2
        :::
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The parsed Markdown."""
        name, *arguments = self.arguments[0].split()
        if name not in TABLES:
            raise self.error(f"generated must be one of {', '.join(TABLES)}, got {name!r}.")
        self.env.note_reread()
        text = TABLES[name](*arguments)
        container = nodes.section()
        container.document = self.state.document
        self.state.nested_parse(StringList(text.splitlines(), source=name), self.content_offset, container, True)
        return container.children


def link_to_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links to files that are pages here go to the pages; in the repository they go to the files."""
    for file, page in PAGES_OF_FILES.items():
        source[0] = source[0].replace(f"](../{file}", f"]({page}")


def resolve_short_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Find ``:class:`ClipFeatures``` wherever it is documented, if there is only one of the name."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    # Types are spelled with the module that defines them, documented where they are imported from.
    tail = ".".join(dropwhile(str.islower, target.split("."))) or target
    found = {
        (entry.docname, entry.node_id)
        for name, entry in env.get_domain("py").objects.items()
        if name.endswith(f".{tail}")
    }
    if len(found) != 1:
        return None
    docname, node_id = found.pop()
    return make_refnode(app.builder, node["refdoc"], docname, node_id, contnode, target)


def escape_letters(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep descriptions such as "C." from being read as the beginning of a numbered list."""
    lines[:] = [LONE_LETTER.sub(r"\1\\\2.", line) for line in lines]


def simplify_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Leave out the signature of what is not to be called, and the name of a default that is made anew each time."""
    if signature and re.fullmatch(r"\(\*args(: [~.\w]+)?, \*\*kwargs(: [~.\w]+)?\)", signature):
        return "", returns
    return signature and signature.replace("<factory>", "..."), returns


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.add_directive("generated", Generated)
    app.connect("source-read", link_to_pages)
    app.connect("missing-reference", resolve_short_name)
    app.connect("autodoc-process-docstring", escape_letters, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", simplify_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
