"""Sphinx configuration: ``make docs`` builds the site into ``docs/_build/html``, with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

from video_mask2former import __version__  # noqa: E402

project = "video_mask2former"
copyright = "the authors of video_mask2former, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "vm2f_docs"]
exclude_patterns = ["_build", "_ext"]
highlight_language = "text"
html_theme = "furo"
html_title = f"video_mask2former {__version__}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

nitpick_ignore_regex = [
    # Other projects' names stay without a link: their inventories would make the build need a network.
    ("py:.*", r"(argparse|collections|ctypes|fractions|logging|nn|np|numpy|os|pathlib|rich|torch|types|typing)\..*"),
    ("py:.*", r"(PIL|pandas|supervision|typing_extensions)\..*"),
    # Names of unions of plain types, which have no page.
    (
        "py:class",
        r"Mode|Remainder|Precision|Backend|TrackerChoice|MaskQualityChoice|SecondPass|VideoSource|Progress|Tensor",
    ),
    # Type variables, which Sphinx takes for classes.
    ("py:.*", r"video_mask2former\.[a-z_.]+\.(T|SampleT)"),
    # A part inside of FileSource that its docstring names.
    ("py:class", r"video_mask2former\.video_io\.decord_decoder\.DecordDecoder"),
]
