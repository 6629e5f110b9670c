"""A page is read as the steps of its reader."""

from pathlib import Path

import pytest

from tests.tools.docs.pages import (
    Checked,
    Command,
    File,
    Python,
    blocks,
    every_page,
    name_of,
    pages,
    steps,
)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


def commands(page: Path, text: str) -> list[Command]:
    page.write_text(f"```console\n{text}```\n", encoding="utf-8")
    found = steps(page)
    assert all(isinstance(one, Command) for one in found)
    return [one for one in found if isinstance(one, Command)]


def test_blocks_are_files_code_commands_and_checked_texts(page: Path) -> None:
    page.write_text(
        "# Title\n\n```python\n# shop/flows.py\nimport flowq\n```\n\n"
        "```json order.json\n{}\n```\n\n```python\nprint(1)\n```\n\n"
        "- In a list:\n\n  ```console\n  $ ls\n  order.json  shop\n  ```\n\n"
        "```sh\nls\n```\n\n```text\nnothing\n```\n",
        encoding="utf-8",
    )
    assert steps(page) == [
        File("shop/flows.py", "# shop/flows.py\nimport flowq\n", 4),
        File("order.json", "{}\n", 9),
        Python("print(1)\n", 13),
        Command("ls", ["order.json  shop"], 19),
        Checked("sh", "ls\n", 24),
    ]


def test_a_comment_that_is_no_path_makes_no_file(page: Path) -> None:
    page.write_text("```python\n# Start it. Then wait.\nx = 1\n```\n", encoding="utf-8")
    assert steps(page) == [Python("# Start it. Then wait.\nx = 1\n", 2)]


def test_commands_go_over_lines_and_have_their_output(page: Path) -> None:
    found = commands(page, "$ cat > a.txt <<EOF\none\nEOF\n$ flowq run \\\n>   a.py\nid\n\n$ ls\n")
    assert [(one.text, one.expected) for one in found] == [
        ("cat > a.txt <<EOF\none\nEOF", None),
        ("flowq run \\\n  a.py", ["id", ""]),
        ("ls", None),
    ]


def test_a_command_may_fail_if_the_page_shows_it(page: Path) -> None:
    found = commands(page, "$ a\nError: no\n$ b\n$ echo $?\n1\n$ c\nall is well\n")
    assert [one.may_fail for one in found] == [True, True, False, False]


def test_an_exemption_has_a_reason_and_covers_one_block(page: Path) -> None:
    page.write_text(
        "<!-- not run: needs a cluster -->\n```console\n$ kubectl\n```\n\n```console\n$ ls\n```\n",
        encoding="utf-8",
    )
    assert [block.exempt for block in blocks(page)] == ["needs a cluster", None]
    assert steps(page) == [Command("ls", None, 7)]


def test_another_comment_exempts_nothing(page: Path) -> None:
    page.write_text(
        "<!-- not run: needs a cluster -->\n```sh\nkubectl\n```\n\n"
        "<!-- not run: another\nsystem -->\n```python\nx = 1\n```\n\n"
        "<!-- end -->\n```console\n$ ls\n```\n",
        encoding="utf-8",
    )
    assert [block.exempt for block in blocks(page)] == ["needs a cluster", "another\nsystem", None]


def test_a_block_without_an_end_is_refused(page: Path) -> None:
    page.write_text("```python\nx = 1\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="has no end"):
        list(blocks(page))


def test_pages_with_code_are_found() -> None:
    found = set(map(name_of, pages()))
    assert {"README.md", "docs/tutorial/first-flow.md"} <= found
    assert "docs/how-to/index.md" in set(map(name_of, every_page())) - found
