"""Every page runs in an empty folder, from top to bottom, and prints what it shows.

CONTRIBUTING.md ("Documentation") says how a page is run; `tests/tools/docs/running.py` does it.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from tests.tools.docs.pages import ROOT, Checked, blocks, every_page, name_of, pages, steps
from tests.tools.docs.running import flaw, problem_of

#: Pages whose own test runs them, since they need more than a folder, with the name of that test.
ELSEWHERE: Final[dict[str, str]] = {
    "docs/http/blocks.md": "tests/integration/entrypoints/http/blocks/test_docs.py",
    "docs/http/index.md": "tests/integration/entrypoints/http/test_docs.py",
    "docs/http/playbooks.md": "tests/integration/entrypoints/http/playbooks/test_docs.py",
    "docs/documents/blueprints.md": "tests/integration/entrypoints/http/blueprints/test_docs.py",
}
#: Pages that do not run yet. A page that would run must not be here.
NOT_YET: Final[set[str]] = {
    "docs/documents/pipelines.md",
    "docs/documents/playbooks.md",
    "docs/documents/workflows.md",
    "docs/flows/enqueue.md",
    "docs/flows/llm.md",
}


def _cases() -> list[Any]:
    cases = []
    for page in pages():
        name = name_of(page)
        if name not in ELSEWHERE:
            late = pytest.mark.xfail(strict=True, reason="the page does not run yet")
            marks = [late] if name in NOT_YET else []
            cases.append(pytest.param(page, id=name.removesuffix(".md"), marks=marks))
    return cases


@pytest.mark.parametrize("page", _cases())
def test_page_runs(page: Path, tmp_path: Path, sqlite_template: Path) -> None:
    if "$ flowq db upgrade" not in page.read_text(encoding="utf-8"):  # the first command makes it
        (tmp_path / ".flowq").mkdir()
        shutil.copy(sqlite_template, tmp_path / ".flowq/flowq.db")
    if problem := problem_of(page, tmp_path):
        pytest.fail(problem, pytrace=False)


def test_tables_name_pages_and_tests() -> None:
    names = {name_of(page) for page in pages()}
    assert names >= NOT_YET | ELSEWHERE.keys()
    assert not NOT_YET & ELSEWHERE.keys()
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), test


def test_what_is_not_run_has_a_reason() -> None:
    """`pytest -s` shows all exemptions."""
    exempt = [
        (f"{name_of(page)}:{block.line}", block.exempt)
        for page in every_page()
        for block in blocks(page)
        if block.exempt is not None
    ]
    print("\n".join(f"{place}: {why}" for place, why in exempt))
    assert exempt
    assert [] == [place for place, why in exempt if len(str(why).split()) < 2]


def test_texts_are_well_formed() -> None:
    """Blocks of shells, YAML and JSON, and Python that is not run."""
    assert [] == [
        f"{name_of(page)}:{step.line}: {problem}"
        for page in every_page()
        for step in steps(page)
        if isinstance(step, Checked) and (problem := flaw(step))
    ]
