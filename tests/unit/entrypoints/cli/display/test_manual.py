"""Every page that a message names is one that `flowq docs` shows."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import flowq
from flowq.entrypoints.cli.display import manual
from flowq.entrypoints.cli.main import main

PACKAGE = Path(flowq.__file__).parent
PAGES = manual.find_pages()


def test_each_page_that_the_package_names_exists() -> None:
    """A hint leads somewhere on every machine, and no hint leads into a repository."""
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    named = {
        name: path
        for path, text in sources.items()
        for name in re.findall(r"flowq docs ([a-z/-]+)", text)
    }
    assert len(named) >= 10
    for name in named:
        assert manual.select(PAGES, name).title
    assert [] == [path for path, text in sources.items() if re.search(r"docs/[a-z/-]+\.md", text)]


def test_a_page_is_printed_as_markdown_in_a_pipe() -> None:
    done = CliRunner().invoke(main, ["docs", "values"])
    assert (0, PAGES["flows/values"].text) == (done.exit_code, done.output)


def test_all_pages_are_listed_with_their_titles() -> None:
    done = CliRunner().invoke(main, ["docs"])
    lines = [line.split(maxsplit=1) for line in done.output.splitlines()]
    assert [[name, page.title] for name, page in PAGES.items()] == [
        [name, title.strip()] for name, title in lines
    ]


@pytest.mark.parametrize(
    "asked, answer",
    [("blocks", "several pages"), ("valeus", "did you mean values"), ("zzz", "lists all pages")],
)
def test_a_name_of_no_page_is_answered_with_a_way(asked: str, answer: str) -> None:
    with pytest.raises(click.UsageError, match=answer):
        manual.select(PAGES, asked)


def test_pages_that_only_the_site_can_build_are_left_out() -> None:
    assert "reference/cli" not in PAGES
    assert all("```{" not in page.text for page in PAGES.values())
