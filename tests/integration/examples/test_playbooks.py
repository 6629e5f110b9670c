"""The playbooks of `examples/playbooks`, run by the real program; servers are local."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from flowq import testing
from flowq.core.states import RunState
from flowq.entrypoints.fake_llm import FakeLlm
from flowq.playbooks.building import Playbook
from flowq.playbooks.parser import load
from flowq.playbooks.running import program, stored, tools
from flowq.settings import Settings
from flowq.testing.runs import StartedRun
from tests.tools.playbooks.service import JsonHandler, serving

FOLDER = Path(__file__).parents[3] / "examples" / "playbooks"
FILES = sorted(FOLDER.glob("*.yaml"))

#: Registered before the definitions of a test are forgotten.
PROGRAM = program.playbook


def started(name: str, fakes: Any = None, **payload: Any) -> StartedRun:
    book = Playbook.parse((FOLDER / f"{name}.yaml").read_bytes())
    return testing.start(book.flow, {"payload": payload}, fakes=fakes)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = Settings(fetch_hosts="127.0.0.1", playbook_python="inline", playbook_files=tmp_path)
    monkeypatch.setattr(tools, "current_settings", lambda: given)


class Orders(JsonHandler):
    """Three pages of two orders; the second answers once that it is busy."""

    asked: ClassVar[list[int]] = []

    def do_GET(self) -> None:  # noqa: N802 - as the library calls it
        page = int(parse_qs(urlsplit(self.path).query)["page"][0])
        status = 503 if page == 2 and page not in Orders.asked else 200
        Orders.asked.append(page)
        items = [{"id": 2 * page - 1, "amount": 10}, {"id": 2 * page, "amount": 5}]
        self.answer({"items": items, "paging": {"page": page, "hasMore": page < 3}}, status)


@pytest.fixture
def url() -> Iterator[str]:
    Orders.asked = []
    with serving(Orders) as url:
        yield url


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_example_is_valid_and_without_a_warning(file: Path) -> None:
    assert () == load(file.read_bytes()).warnings


def test_pages_are_stored_in_sqlite(url: str, tmp_path: Path) -> None:
    with started("pages", url=url) as run:
        assert [{"orders": 6, "amount": 45}] == run.result()["result"]

    assert [1, 2, 2, 3] == Orders.asked
    with sqlite3.connect(tmp_path / "orders.db") as stored_orders:
        assert [(6,)] == stored_orders.execute("SELECT count(*) FROM orders").fetchall()
    stored_orders.close()


@pytest.mark.parametrize("limit, warning", [(28, "warning: 33 degrees"), (40, "none")])
def test_cities_join_with_and_without_a_warning(limit: int, warning: str) -> None:
    with started("cities", limit=limit) as run:
        report = run.result()["result"]

    assert ("Berlin, Madrid, Oslo", warning) == (report["cities"], report["warning"])


def test_report_is_written_by_a_model(fake_llm: FakeLlm) -> None:
    with started("nightly") as run:
        report = run.result()["result"]
        assert run.view().tokens > 0

    assert {"rate": 3.3, "revenue": 5400} == report["figures"]
    assert report["text"]
    assert 1 == fake_llm.stats.answered


def test_parent_gets_the_result_of_a_step_of_its_children() -> None:
    child = Playbook.parse((FOLDER / "child.yaml").read_bytes()).to_dict()
    with started("parent", {stored.find: lambda path, version=None: child}) as run:
        found = run.result()["result"]["discounts"]

    assert [{"total": 55, "percent": 10}, {"total": 7, "percent": 0}] == found


@pytest.mark.parametrize(
    "answer, result",
    [
        ({"result": {"approved": True, "by": "ann"}}, {"paid": 100, "by": "ann"}),
        ({"result": {"approved": False, "by": "bob"}}, {"why": "bob said no"}),
        ({"error": {"message": "on holiday"}}, {"why": "on holiday"}),
    ],
)
def test_expense_waits_for_its_approval(answer: Any, result: Any) -> None:
    with started("approval") as run:
        assert RunState.RUNNING is run.status
        run.send_signal("call:2", answer)
        assert result == run.result()["result"]


def test_expense_that_nobody_approves_is_refused_after_a_week() -> None:
    with started("approval") as run:
        assert "did not arrive" in run.result()["result"]["why"]
    with started("approval", amount=20) as small:
        assert {"paid": 20, "by": "nobody"} == small.result()["result"]
