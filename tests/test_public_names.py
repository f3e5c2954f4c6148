"""What the package says it offers is there, and importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import video_mask2former as vm2f


@pytest.mark.parametrize("name", vm2f.__all__)
def test_every_public_name_resolves(name):
    assert getattr(vm2f, name) is not None


def test_unknown_names_say_what_there_is():
    with pytest.raises(AttributeError, match="segment_video"):
        _ = vm2f.segment_vidoe


def test_importing_the_package_does_not_import_torch():
    code = "import sys, video_mask2former; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
