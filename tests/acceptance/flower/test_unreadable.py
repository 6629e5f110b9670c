"""The Flows tab answers for a run whose rows cannot be read, and says why."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from sqlalchemy import text

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import RunId, batch_of_run
from tests.acceptance.flower.test_hostile import Site
from tests.integration.engine.advance.test_unreadable import COLUMNS, POISONS, another_process
from tests.tools.cluster import cluster_on
from tests.tools.flowers import flower

NAME: Final = "tests.unreadable"
TABS: Final = ["graph", "gantt", "steps", "errors", "events", "cost"]
ACTIONS: Final = ["signal", "cancel", "budget", "pause", "resume"]
FILES: Final = ["inputs.json", "outputs.json"]
LISTS: Final = ["/flows", "/flows?text=unreadable", "/flows/cost", f"/flows/by-name/{NAME}"]


@step
def plus(number: int) -> Any:
    return number + 1


@flow(name=NAME)
def mapped(number: int) -> Any:
    return plus.map([plus(number), number])


def pages(run_id: str) -> list[str]:
    own = ["", *TABS, *ACTIONS, *FILES, "steps/plus", "steps/plus-2", "steps/plus_2"]
    return [f"/flows/{run_id}/{part}".rstrip("/") for part in own]


def meet(records: SqlRecords, run_id: str) -> None:
    """Do what a worker does that is to go on with the run."""
    stage = another_process(records)
    stage.dispatcher.send_advance([batch_of_run(RunId(UUID(run_id)))])
    stage.dispatcher.run(stage.engine)


def values(poisons: list[str], place: int, column: str, *, is_sqlite: bool) -> list[str]:
    """Return what a column meets on a database: a spec half of all, on the other one the rest."""
    every = 2 if column == "spec" else 6
    return [
        value
        for number, value in enumerate(poisons)
        if (number + 2 * place + is_sqlite) % every == 0 or value == POISONS["no JSON"]
    ]


@pytest.mark.slow
def test_no_page_of_an_unreadable_run_fails(database_url: str, tmp_path: Path) -> None:
    is_sqlite = database_url.startswith("sqlite")
    poisons = [value for how, value in POISONS.items() if is_sqlite or how != "no JSON"]
    with (
        closing(SqlRecords(database_url)) as records,
        cluster_on(database_url, tmp_path / "cluster", FLOWQ_SHOW_CONTENT="1") as cluster,
        flower(cluster) as url,
    ):
        form_at = f"/flows/{cluster.submit(mapped, number=1)}/cancel"  # nobody runs it
        site = Site(urlsplit(url).port or 0, form_at)
        failed = []
        for place, (table, column) in enumerate(COLUMNS):
            if table not in ("flow_runs", "flow_step_runs"):
                continue
            spoilt: dict[str, str] = {}
            for value in values(poisons, place, column, is_sqlite=is_sqlite):
                run_id = str(cluster.submit(mapped, number=1))
                spoilt[run_id] = value[:40]
                own = "id" if table == "flow_runs" else "flow_run_id"
                cast = "" if is_sqlite else "::json"
                query = f"UPDATE {table} SET {column} = (:value){cast} WHERE {own} = :run"
                given = {"value": value, "run": run_id.replace("-", "") if is_sqlite else run_id}
                with records.engine.connect() as connection:
                    assert connection.execute(text(query), given).rowcount
                if column == "spec" and table == "flow_runs":
                    meet(records, run_id)
                failed += [
                    (table, column, value[:40], page, asked.status)
                    for page in pages(run_id)
                    for asked in [site.ask(page)]
                    if asked.status >= 500
                ]
                if (table, column) == ("flow_runs", "spec"):
                    shown = site.ask(f"/flows/{run_id}").text
                    if "cannot be read" not in shown:
                        failed.append((table, column, value[:40], "no reason", 0))
            failed += [
                (table, column, *one)
                for one in [*_failed_lists(site), *_failed_cancels(site, spoilt)]
            ]
    assert [] == failed


def _failed_lists(site: Site) -> list[tuple[str, str, int]]:
    """Ask for the lists, each of which has all runs."""
    answers = [(page, site.ask(page).status) for page in LISTS]
    return [("any", page, status) for page, status in answers if status >= 500]


def _failed_cancels(site: Site, spoilt: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Cancel runs, given with what spoils them."""
    answers = [
        (value, site.form(f"/flows/{run_id}/cancel", {"reason": "spoilt"}).status)
        for run_id, value in spoilt.items()
    ]
    return [(value, "POST cancel", status) for value, status in answers if status not in (303, 409)]
