"""Headless Chromium for the tests of pages."""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)


def in_a_browser(test):
    """Mark a test that needs Chromium; it is left out where there is none."""
    why = "no Chromium is installed (apt-get install chromium)"
    return pytest.mark.browser(pytest.mark.skipif(CHROMIUM is None, reason=why)(test))


@dataclass
class Opened:
    """A page in a tab, with the errors of its scripts and the addresses it asked for."""

    tab: Any
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def overflow(self):
        """Return by how many pixels the page is wider than the window."""
        return self.tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@contextmanager
def opened(path, width, scheme):
    """Open the file at ``path`` in a window of ``width`` pixels, "light" or "dark"."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = Opened(tab)
        tab.on("pageerror", lambda error: page.problems.append(str(error)))
        tab.on("request", lambda request: page.requests.append(request.url))
        tab.goto(path.as_uri())
        yield page
        browser.close()
