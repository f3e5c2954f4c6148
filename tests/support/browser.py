"""A page in a real browser, without a screen."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def browser_page(address: str | Path, *, width: int = 390, height: int = 800) -> Iterator[Any]:
    """Open a page of a certain size (a phone's by default); an error in its script fails the test at the end."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    api = pytest.importorskip("playwright.sync_api")
    if chromium is None:
        pytest.skip("needs chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height}, accept_downloads=True)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address.as_uri() if isinstance(address, Path) else address)
        yield page
        browser.close()
    assert errors == []


def fits(page: Any) -> bool:
    """Whether nothing is wider than the screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def painted(page: Any) -> list[list[int]]:
    """Red, green, blue and opacity of each pixel of the masks of a page, row by row."""
    script = (
        "() => { const c = document.getElementById('masks'), d = c.getContext('2d').getImageData(0, 0, c.width, "
        "c.height).data; return Array.from({length: d.length / 4}, (_, i) => [...d.slice(4 * i, 4 * i + 4)]); }"
    )
    return list(page.evaluate(script))
