"""The pages of the documentation in a terminal.

The pages are Markdown files. They are in the folder `docs` of the repository, and in the folder
`docs` of the installed package. Pages that only the site can build are not among them: a page that
begins with `<!-- site only -->`.
"""

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import click
from rich.markdown import Markdown
from rich.table import Table

import flowq
from flowq.entrypoints.cli.display import console

_SITE_ONLY: Final = "<!-- site only -->"
_INDEX: Final = "index"


@dataclass(frozen=True)
class ManualPage:
    """A page.

    Attributes:
        name: Its path below the folder of pages, without the suffix; that of the folder if the page
            is its index.
        path: Its file.
    """

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        """Its Markdown."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def title(self) -> str:
        """Its first heading."""
        lines = self.text.splitlines()
        return next((line[2:] for line in lines if line.startswith("# ")), self.name)


def find_pages() -> dict[str, ManualPage]:
    """Return all pages by name, in order of the names."""
    package = Path(flowq.__file__).parent
    folder = package / "docs"
    if not folder.is_dir():
        folder = package.parent / "docs"
    pages = {}
    for path in sorted(folder.rglob("*.md")):
        place = path.relative_to(folder).with_suffix("")
        name = str(place.parent if place.name == _INDEX else place)
        page = ManualPage(name, path)
        if not page.text.startswith(_SITE_ONLY):
            pages[name] = page
    return pages


def select(pages: Mapping[str, ManualPage], asked: str) -> ManualPage:
    """Return the page of a name, of which the folders can be left out.

    Raises:
        UsageError: no page has this name, or several have.
    """
    asked = asked.removesuffix(".md").strip("/")
    if asked in pages:
        return pages[asked]
    named = [name for name in pages if name.endswith(f"/{asked}")]
    if len(named) == 1:
        return pages[named[0]]
    if named:
        raise click.UsageError(f"several pages are named {asked!r}: {', '.join(named)}")
    short = {name.rpartition("/")[2]: name for name in pages}
    near = difflib.get_close_matches(asked, [*short, *pages], n=3)
    meant = f"did you mean {' or '.join(near)}?" if near else "`flowq docs` lists all pages"
    raise click.UsageError(f"no page is named {asked!r}: {meant}")


def print_list(pages: Mapping[str, ManualPage]) -> None:
    """Print the names and titles of all pages."""
    table = Table.grid(padding=(0, 3))
    for name, page in pages.items():
        table.add_row(name, page.title)
    console.out().print(table)


def print_page(page: ManualPage) -> None:
    """Print a page: formatted and in a pager in a terminal, as Markdown elsewhere."""
    if not sys.stdout.isatty():
        click.echo(page.text, nl=False)
        return
    shown = console.out(lines=True)
    with shown.pager(styles=True):
        shown.print(Markdown(page.text))
