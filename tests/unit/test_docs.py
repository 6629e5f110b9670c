"""What the pages say is true as far as code can tell; tests/acceptance/docs runs their blocks.

Parts that are made from code are as the code is now, and links lead somewhere.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from flowq.entrypoints.cli.main import main
from tests.tools.docs import pages

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A line that begins with `flowq`, perhaps after variables; up to a pipe, or what is like one.
FLOWQ = re.compile(r"(?:\$ )?(?:\w+=\S+ +)*flowq ((?:'[^']*'|\"[^\"]*\"|[^|;&<>])*)")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)?(?:#([^)]+))?\)")

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT).with_suffix(""))
)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def test_each_promise_is_kept_by_tests_that_exist() -> None:
    page = (ROOT / "docs/concepts/promises.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`tests/" in line]
    named = re.findall(r"`(tests/[^`]+)`", page)

    assert len(rows) >= 16
    assert named
    for name in named:
        path, _, test = name.partition("::")
        found = ROOT / path
        assert found.exists(), name
        assert not test or f"def {test}(" in found.read_text(encoding="utf-8"), name


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@each_page
def test_generated_parts_are_current(page: Path) -> None:
    """After a change of settings or states: python docs/generate.py."""
    text = page.read_text(encoding="utf-8")
    assert generator().render(text) == text


def test_every_generated_part_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(generator().PARTS) == set(re.findall(r"<!-- generated: (\S+) -->", text))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """A link within the repository names a file that is there, and a title that it has."""
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), anchor


def test_the_first_flow_is_the_same_wherever_a_newcomer_begins() -> None:
    readme, site, tutorial = (
        blocks(ROOT / page)[0]
        for page in ("README.md", "docs/index.md", "docs/tutorial/first-flow.md")
    )
    assert readme == site == tutorial


def typed(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of each `flowq` that a page shows in a block of a shell."""
    for block in pages.blocks(page):
        if block.language in {"sh", "bash", "console"}:
            lines = block.text.replace("\\\n", " ").splitlines()
            for found in filter(None, map(FLOWQ.match, lines)):
                yield shlex.split(found[1], comments=True)


def parse(command: click.Command, arguments: list[str], parent: click.Context | None) -> None:
    """Read a command line as far as its commands and options have to exist."""
    context = click.Context(command, parent=parent, **command.context_settings)
    _, rest, _ = command.make_parser(context).parse_args(arguments)
    if isinstance(command, click.Group) and rest:
        found = command.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"No such command {rest[0]!r}.")
        parse(found, rest[1:], context)


@each_page
def test_commands_and_options_of_pages_exist(page: Path) -> None:
    """Also in blocks that are not run, such as those for a cluster."""
    wrong = []
    for arguments in typed(page):
        try:
            parse(main, arguments, None)
        except click.UsageError as error:
            wrong.append(f"flowq {shlex.join(arguments)}: {error.message}")
    assert [] == wrong


ARCHITECTURE = ROOT / "docs/project/architecture.md"
#: A quoted word, and the names that follow it in parentheses.
QUOTED = re.compile(r"`([^`\n]+)`(?: \(((?:`\w+`(?:, )?)+)\))?")


def test_what_the_architecture_names_exists() -> None:
    """Each path is there, and each name that follows it is defined in it."""
    found = QUOTED.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    places = [(name, names) for name, names in found if "/" in name or name.endswith(".py")]
    missing = []
    for place, names in places:
        path = ROOT / (place if place.startswith("tests/") else f"flowq/{place}")
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        defined = set(re.findall(r"^(?:async )?(?:def|class) (\w+)", source, re.MULTILINE))
        missing += [] if path.exists() else [place]
        missing += [f"{place}:{name}" for name in re.findall(r"\w+", names) if name not in defined]

    assert len(places) >= 30
    assert [] == missing


@each_page
def test_the_text_names_the_files_to_save(page: Path) -> None:
    # The site does not show what follows the language of a block.
    lines = page.read_text(encoding="utf-8").splitlines()
    unnamed, after = [], 0
    for block in pages.blocks(page):
        text = "\n".join(lines[after : block.line - 2])
        after = block.line + len(block.text.splitlines())
        if re.fullmatch(r"[\w./@-]+\.\w+", block.info) and block.info not in text:
            unnamed.append(block.info)

    assert unnamed == []
