"""Every page runs in an empty folder, from top to bottom, and prints what it shows.

CONTRIBUTING.md ("Documentation") says how a page is run; `tests/tools/docs/running.py` does it.
"""

import shutil
from pathlib import Path

import pytest

from tests.tools.docs.pages import Checked, blocks, every_page, name_of, pages, steps
from tests.tools.docs.running import flaw, problem_of


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=name_of(page).removesuffix(".md")) for page in pages()]
)
def test_page_runs(page: Path, tmp_path: Path, sqlite_template: Path) -> None:
    if "$ flowq db upgrade" not in page.read_text(encoding="utf-8"):  # the first command makes it
        (tmp_path / ".flowq").mkdir()
        shutil.copy(sqlite_template, tmp_path / ".flowq/flowq.db")
    if problem := problem_of(page, tmp_path):
        pytest.fail(problem, pytrace=False)


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
