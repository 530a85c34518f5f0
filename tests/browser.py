"""A real browser for the tests of pages: Debian's chromium, where it is installed."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

__all__ = ["chromium"]

# It runs as root in CI, and asks nobody but the page.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser | None]:
    """Yield a headless browser, or None where there is none, with a warning that says so."""
    found = shutil.which("chromium")
    if found is None:
        warnings.warn("there is no chromium here: no page is looked at", stacklevel=1)
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=Path(found), args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()
