"""docs/documents/playbooks.md is true: it names every key, and its rows have tests."""

import re
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from flowq.entrypoints.cli.main import main
from flowq.playbooks import InvalidPlaybook, Playbook
from flowq.playbooks.document.grammar.documents import STEP
from flowq.playbooks.document.grammar.tools import ELSEWHERE, KINDS

_ROOT: Final = Path(__file__).parents[2]
_PAGE: Final = (_ROOT / "docs/documents/playbooks.md").read_text(encoding="utf-8")


def test_the_page_of_errors_shows_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (_ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    [document] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text(document, encoding="utf-8")

    done = CliRunner().invoke(main, ["playbook", "validate", "broken.yaml"])

    said = done.stdout.replace("5 problems\n", "")
    assert f"InvalidPlaybook: {said}```" in page
    with pytest.raises(InvalidPlaybook) as raised:
        Playbook.parse(document, name="broken.yaml")
    assert said.strip() == str(raised.value)


def test_every_key_and_every_kind_is_on_the_page() -> None:
    names = [*(key.name for key in STEP.keys), *KINDS, *ELSEWHERE]

    assert [] == [name for name in names if f"`{name}`" not in _PAGE]


def test_every_row_of_the_language_is_checked_by_tests_that_exist() -> None:
    page = (_ROOT / "docs/documents/playbooks-coverage.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| N(\d+) \|.*\| (.*) \|$", page, re.MULTILINE)

    assert list(range(1, 72)) == [int(number) for number, _ in rows]
    for number, cell in rows:
        named = re.findall(r"`(tests/[^`]+)`", cell)
        assert named, number
        for name in named:
            path, _, test = name.partition("::")
            source = (_ROOT / path).read_text(encoding="utf-8")
            assert not test or f"def {test}(" in source, name
