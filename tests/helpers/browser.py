"""Headless Chromium for the tests of pages."""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")

# Words that are cut in two by the end of a line, where each line of their element has its box.
BROKEN_WORDS = """
(() => {
  const broken = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, inside = node.parentElement;
    const anywhere = inside.closest("script, style, figcaption, code, .key");
    if (anywhere || !inside.checkVisibility()) continue;
    for (const word of node.data.matchAll(/[A-Za-z0-9]{2,}/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1)
        broken.push(word[0]);
    }
  }
  return broken;
})()
"""

# Each text whose contrast with the nearest ground behind it is below WCAG's AA.
LOW_CONTRAST = """
but => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = colour => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = element => {
    for (let behind = element; behind; behind = behind.parentElement) {
      const colour = rgba(getComputedStyle(behind).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const low = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), inside = walker.currentNode.parentElement;
    if (!text || inside.closest(`script, style, title, ${but}`)) continue;
    if (!inside.checkVisibility()) continue;
    const style = getComputedStyle(inside), back = ground(inside);
    const ink = rgba(inside.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const share = ink[3] / 255 * Number(style.opacity) * Number(style.fillOpacity);
    const seen = back.map((part, place) => share * ink[place] + (1 - share) * part);
    const [dark, bright] = [light(seen), light(back)].sort((a, b) => a - b);
    const ratio = (bright + 0.05) / (dark + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || size >= 18.66 && Number(style.fontWeight) >= 700;
    if (ratio < (large ? 3 : 4.5)) low.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return low;
}
"""

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


def low_contrast(tab, but="none"):
    """Return the texts in ``tab`` that WCAG's AA calls too faint, each with its ratio.

    but: a selector of those left out, as what lies on a bar, where the ground is not the page's.
    """
    return tab.evaluate(LOW_CONTRAST, but)
