"""axe-core on a page: what people with a keyboard or a screen reader, or in the dark, would miss.

The engine is that of the package `axe-playwright-python`; where it is missing, tests are skipped.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page

_PACKAGE: Final = "axe_playwright_python"
#: Runs the rules of the page in its theme; then only those about colours in the other theme.
_RUN: Final = """async (only) => {
  const options = only ? { runOnly: only } : {};
  const found = await axe.run(document, { resultTypes: ["violations"], ...options });
  return found.violations.flatMap((rule) => rule.nodes.map((node) =>
    `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary.replace(/\\s+/g, " ")}`));
}"""
_THEME: Final = "theme => document.documentElement.setAttribute('data-bs-theme', theme)"


@cache
def _engine() -> str:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        pytest.skip(f"axe-core is missing: pip install {_PACKAGE.replace('_', '-')}")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def barriers(page: Page) -> list[str]:
    """Return what axe finds on the open page, in the light and in the dark theme."""
    page.evaluate(_engine())
    page.add_style_tag(content="* { transition: none !important }")  # colours are those of the end
    page.evaluate(_THEME, "light")
    found: list[str] = page.evaluate(_RUN, None)
    page.evaluate(_THEME, "dark")
    in_dark: list[str] = page.evaluate(_RUN, ["color-contrast", "link-in-text-block"])
    return [f"light: {one}" for one in found] + [f"dark: {one}" for one in in_dark]
