"""The site is built without a warning, and has what its readers look for."""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import flowq
from flowq.entrypoints.cli.main import main
from tests.tools.session.processes import run

ROOT = Path(__file__).parents[3]


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if identity := given.get("id"):
            self.anchors.add(identity)
        if address := given.get("href" if tag == "a" else "src"):
            self.links.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = run([sys.executable, str(ROOT / "docs/build.py"), str(folder)], cwd=ROOT)
    assert 0 == done.returncode, done.stdout + done.stderr
    return folder / flowq.__version__


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def _broken(site: Path, pages: dict[Path, Page]) -> Iterator[tuple[str, str]]:
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            is_page = target in pages
            known = not parts.fragment or not is_page or parts.fragment in pages[target].anchors
            if not target.exists() or not known:
                yield str(path.relative_to(site)), link


def test_every_link_leads_to_a_page_and_a_title_that_exist(
    site: Path, pages: dict[Path, Page]
) -> None:
    assert len(pages) > 40
    assert [] == list(_broken(site, pages))


def test_every_public_name_is_in_the_python_reference(pages: dict[Path, Page]) -> None:
    anchors = {anchor for page in pages.values() for anchor in page.anchors}
    names = {f"flowq.{name}" for name in flowq.__all__ if name not in {"__version__", "errors"}}
    names |= {f"flowq.errors.{name}" for name in flowq.errors.__all__}
    assert set() == names - anchors


def test_every_command_is_in_the_reference_of_the_command_line(site: Path) -> None:
    text = (site / "reference/cli.html").read_text(encoding="utf-8")
    titles = {re.sub(r"<.*?>|#", "", found) for found in re.findall(r"<h\d>(.*?)</h\d>", text)}
    assert set() == set(main.list_commands(None)) - titles  # type: ignore[arg-type]
