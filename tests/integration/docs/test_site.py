"""The site is built without a warning, and has what its readers look for."""

import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

import flowq
from flowq.entrypoints.cli.main import main
from tests.tools.session.processes import run

ROOT = Path(__file__).parents[3]
#: The packages whose `__all__` is public.
PACKAGES = (
    "flowq",
    "flowq.errors",
    "flowq.blocks",
    "flowq.canvas",
    "flowq.pipeline",
    "flowq.playbooks",
    "flowq.testing",
    "flowq.workflows",
)


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


def _text_of(path: Path) -> str:
    """Return the text of the article of a page, without markup."""
    article = path.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
    return unescape(re.sub(r"<[^>]*>", "", article))


def _commands(group: click.Command, name: str) -> Iterator[str]:
    yield name
    if isinstance(group, click.Group):
        for each in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), each)
            assert command is not None
            yield from _commands(command, f"{name} {each}")


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


def test_the_name_of_a_file_is_above_its_block(site: Path) -> None:
    """On a page it follows the language of the block, which readers of the site do not see."""
    text = (site / "tutorial/a-model.html").read_text(encoding="utf-8")
    captions = re.findall(r'caption-text">([^<]+)<', text)
    assert ["prompts/classify.txt", "settings.sh"] == captions


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_on_one_page_of_the_python_reference(
    package: str, pages: dict[Path, Page]
) -> None:
    names = set(import_module(package).__all__) - {"__version__", "errors"}
    found = Counter(anchor for page in pages.values() for anchor in page.anchors)
    assert [] == [name for name in sorted(names) if found[f"{package}.{name}"] != 1]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package: str) -> None:
    """An instance has that of its class; a constant is described on its page."""
    public = {
        name: getattr(import_module(package), name) for name in import_module(package).__all__
    }
    code = {
        name: value
        for name, value in public.items()
        if inspect.isclass(value) or inspect.isroutine(value)
    }
    assert [] == [name for name, value in code.items() if not inspect.getdoc(value)]


def test_the_python_reference_shows_nothing_internal(site: Path) -> None:
    """Sentinels of defaults, metadata of annotations, pydantic's configuration, and objects."""
    internal = re.compile(
        r"\b(UNSET|Unset|Annotated|Unpack|model_config|PydanticUndefined)\b| object at "
    )
    pages = {path: _text_of(path) for path in (site / "reference/api").glob("*.html")}
    assert len(pages) > 15
    assert [] == [
        (path.name, found[0]) for path, text in pages.items() for found in internal.finditer(text)
    ]


def test_every_command_is_in_the_reference_of_the_command_line(site: Path) -> None:
    text = (site / "reference/cli.html").read_text(encoding="utf-8")
    titles = {re.sub(r"<.*?>|#", "", found) for found in re.findall(r"<h\d>(.*?)</h\d>", text)}
    assert set() == set(_commands(main, "flowq")) - titles
