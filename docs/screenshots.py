"""Makes the pictures of the Flows tab: `PYTHONPATH=. python docs/screenshots.py [FOLDER]`.

It runs the flows of a shop on a worker of its own, with a model that is played, and photographs
Flower with Chromium: every page in light and dark, wide and narrow, into the folder. Without one,
those that the README and the guide show, beside this file. Needs what the tests need.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, expect

from flowq.entrypoints.fake_llm import FakeLlm
from tests.acceptance.apps.shop import FILE, Shop, open_shop
from tests.tools.browsers import chromium
from tests.tools.session.session import Session

HERE: Final = Path(__file__).parent
TEXTS: Final = ("Winter is coming to the shop.", "Chairs from local wood.", "Why lamps hum.")
#: What the guide shows: file, path, theme, height.
KEPT: Final = (
    ("flower-flows", "", "light", 940),
    ("flower-run", "/{going}", "dark", 1190),
    ("flower-gantt", "/{planned}/gantt", "light", 910),
    ("flower-errors", "/{parent}/errors", "light", 990),
)
PATHS: Final = {
    "list": "",
    "graph": "/{going}",
    "gantt": "/{planned}/gantt",
    "steps": "/{map}/steps",
    "errors": "/{parent}/errors",
    "events": "/{failed}/events",
    "run-cost": "/{article}/cost",
    "cost": "/cost",
    "by-name": "/by-name/shop.price_orders",
    "signal": "/{article}/signal",
}


def main() -> None:
    """Make the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with (
        closing(Session(os.environ)),
        tempfile.TemporaryDirectory(prefix="shop-") as home,
        FakeLlm() as llm,
        open_shop(Path(home), llm) as shop,
        shop.shell.flower(target=FILE) as flower,
        chromium() as browser,
    ):
        ids = _runs(shop, browser, f"{flower}/flows")
        for name, path, theme, size, is_full in _wanted(folder):
            page = _page(browser, theme, size)
            page.goto(f"{flower}/flows{path.format(**ids)}")
            page.screenshot(path=(folder or HERE / "pictures") / f"{name}.png", full_page=is_full)
            page.close()


def _wanted(folder: Path | None) -> Iterator[tuple[str, str, str, tuple[int, int], bool]]:
    if folder is None:
        for name, path, theme, height in KEPT:
            yield name, path, theme, (1280, height), False
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in PATHS.items():
        for theme in ("light", "dark"):
            for width in (1280, 420):
                yield f"{name}-{theme}-{width}", path, theme, (width, 800), True


def _runs(shop: Shop, browser: Browser, flows: str) -> dict[str, str]:
    """Have runs in every state; return the ids of those that are shown."""
    priced = [("price_orders", {"count": count, "pace": 0.01}) for count in (12, 30, 24, 8)]
    imported = ("import_catalogue", {"file": str(shop.catalogue)})
    planned = ("plan_season", {"count": 24, "pace": 0.3})
    articles = [("write_article", {"text": text}) for text in TEXTS]
    ids = shop.enqueue(*priced, ("close_day", {"count": 8}), *articles, imported, planned)
    page = _page(browser, "light", (1280, 800))
    page.goto(f"{flows}?children=shown")
    row = 'tr[data-run-id="{}"][data-status="{}"]'
    expect(page.locator(row.format(ids[4], "failed"))).to_have_count(1, timeout=60_000)
    expect(page.locator(row.format(ids[9], "completed"))).to_have_count(1, timeout=60_000)
    failed = page.locator("tr[data-run-id]", has_text="shop.charge_cards").first.get_attribute(
        "data-run-id"
    )
    [going] = shop.enqueue(("plan_season", {"count": 1000, "pace": 0.3}))
    for article in ids[5:8]:
        page.goto(f"{flows}/{article}")
        expect(page.get_by_role("link", name="Answer…")).to_have_count(1, timeout=60_000)
    page.close()
    assert failed is not None
    return {
        "planned": ids[9],
        "map": ids[1],
        "parent": ids[4],
        "failed": failed,
        "article": ids[5],
        "going": going,
    }


def _page(browser: Browser, theme: str, size: tuple[int, int]) -> Page:
    scheme = "dark" if theme == "dark" else "light"
    viewport = {"width": size[0], "height": size[1]}
    return browser.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
