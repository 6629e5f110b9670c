"""Every playbook of docs/documents/playbooks.md runs, on a server that answers as the page says."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from flowq import testing
from flowq.playbooks.building import Playbook
from flowq.playbooks.running import tools
from flowq.settings import Settings
from tests.tools.playbooks.service import JsonHandler, serving

_PAGE: Final = (Path(__file__).parents[3] / "docs/documents/playbooks.md").read_text(
    encoding="utf-8"
)
_DOCUMENTS: Final = re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)
_RESULTS: Final[dict[str, Callable[[Any], bool]]] = {
    "orders": lambda result: result in ({}, {"count": 2}, {"count": 6, "first": 1}),
    "stored": lambda result: result == [{"id": 1, "note": "it is new"}, {"id": 2}],
    "squares": lambda result: result == 14,
    "fan-out": lambda result: "_arrivals" in result,
    "smoke": lambda result: result["status"] == 200,
    "sales": lambda result: result["status"] == 200,
}


class Server(JsonHandler):
    """Pages of orders, of which the second is busy once; and what was posted."""

    asked: ClassVar[list[str]] = []
    posted: ClassVar[dict[str, Any]] = {}
    token: ClassVar[str | None] = None

    def do_GET(self) -> None:  # noqa: N802 - as the library calls it
        """Answer with orders, or with the health of a region."""
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        is_again = self.path in Server.asked
        Server.asked.append(self.path)
        page = int(query.get("page", ["1"])[0])
        items = [{"id": 2 * page - 1}, {"id": 2 * page}]
        is_busy = (page == 2 and not is_again) or query.get("region") == ["us"]
        paging = {"page": page, "hasMore": page < 3}
        self.answer({"items": items, "paging": paging}, 503 if is_busy else 200)

    def do_POST(self) -> None:  # noqa: N802 - as the library calls it
        """Keep what is posted."""
        length = int(self.headers["content-length"])
        Server.posted[self.path] = json.loads(self.rfile.read(length))
        Server.token = self.headers.get("authorization")
        self.answer({})


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    Server.asked, Server.posted, Server.token = [], {}, None
    monkeypatch.setenv("TOKEN", "tok-1234567890")
    given = Settings(fetch_hosts="127.0.0.1", playbook_env="TOKEN", playbook_files=tmp_path)
    monkeypatch.setattr(tools, "current_settings", lambda: given)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE orders (id INTEGER, note TEXT)")
    with serving(Server) as url:
        yield url


def result(book: Playbook, url: str) -> Any:
    with testing.start(book.flow, {"payload": {"url": url}}) as run:
        return run.result()["result"]


@pytest.mark.parametrize("text", _DOCUMENTS, ids=range(len(_DOCUMENTS)))
def test_document_of_the_page_runs(text: str, url: str) -> None:
    book = Playbook.parse(text)

    assert _RESULTS[book.metadata.name](result(book, url))


def named(name: str) -> Playbook:
    [text] = [text for text in _DOCUMENTS if f"name: {name}}}" in text]
    return Playbook.parse(text)


def test_job_of_github_actions_reports_a_failed_region(url: str) -> None:
    result(named("smoke"), url)

    assert {"/reports": {"result": "failure"}} == Server.posted
    assert "Bearer tok-1234567890" == Server.token
    tries = [path for path in Server.asked if "region=us" in path]
    assert 3 == len(tries)
    assert "/health?region=eu&version=1.4" in Server.asked


def test_dag_of_airflow_warns_of_few_orders(url: str) -> None:
    result(named("sales"), url)

    assert {"/warnings": {"orders": 4}} == Server.posted
