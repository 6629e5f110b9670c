"""The list of runs in a real browser: an open page has the rows that it would have after a reload.

Each test opens the list before its runs change, and waits until the rows of the page are those of
the same address, fetched anew.
"""

import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from flowq.core.ids import RunId, child_run_id, node_id
from flowq.core.states import RunState
from tests.acceptance.apps import worker_flows as flows
from tests.tools.cluster import Cluster, cluster_with_redis
from tests.tools.flowers import flower
from tests.tools.waiting import wait_until

#: Seconds after which a page shows what the rows say, on a busy machine.
SOON = 60


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """Open a page; fails when it was loaded anew, or its console complains."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.evaluate("window.marker = 1")
    try:
        yield page
        assert 1 == page.evaluate("window.marker")
        assert [] == errors
    finally:
        page.close()


def shown(page: Page) -> list[tuple[str, str]]:
    """Return the rows of a page: ids and states."""
    found: list[list[str]] = page.evaluate(
        """[...document.querySelectorAll("tr[data-run-id]")]
        .map(row => [row.dataset.runId, row.dataset.status])"""
    )
    return [(run_id, status) for run_id, status in found]


def fetched(address: str) -> list[tuple[str, str]]:
    """Return the rows that a page has after a reload."""
    with urllib.request.urlopen(address, timeout=60) as answer:
        html = answer.read().decode()
    return re.findall(r'<tr data-run-id="([^"]+)" data-status="([^"]+)"', html)


def until(page: Page, so: Callable[[list[tuple[str, str]]], bool], what: str) -> None:
    """Wait until the rows are as wanted, and as after a reload."""

    def is_so() -> bool:
        rows = shown(page)
        return so(rows) and rows == fetched(page.url)

    wait_until(is_so, timeout=SOON, what=what)


def settled(page: Page) -> None:
    """Wait until the page has fetched what was announced, so that it has no other reason to."""
    wait_until(
        lambda: page.evaluate(
            """performance.now() - Math.max(
            ...performance.getEntriesByType("resource").map(one => one.responseEnd)) > 3000"""
        ),
        timeout=SOON,
        what="nothing more is fetched",
    )


def ended(cluster: Cluster, *runs: RunId) -> None:
    for run_id in runs:
        assert RunState.COMPLETED == cluster.wait(run_id).status


def children(run_id: RunId) -> set[str]:
    return {str(child_run_id(node_id(run_id, key))) for key in ("child", "other")}


def test_child_runs_appear_below_newer_runs(browser: Browser, cluster: Cluster) -> None:
    with flower(cluster) as url, opened(browser, f"{url}/flows?children=shown") as page:
        parents = [cluster.submit(flows.parent, number=number) for number in range(4)]
        newer = cluster.submit(flows.fan, count=2)
        until(page, lambda rows: len(rows) == 5, "those are there that wait for a worker")
        settled(page)

        with cluster.worker("--concurrency=2", "--pool=threads"):
            ended(cluster, *parents, newer)
            expected = {str(newer), *map(str, parents)}.union(*map(children, parents))
            until(page, lambda rows: {run_id for run_id, _ in rows} == expected, "children appear")
            until(page, lambda rows: {s for _, s in rows} == {"completed"}, "all have ended")


@pytest.mark.parametrize("state, before, after", [("completed", 0, 2), ("open", 2, 0)])
def test_list_of_a_state_gains_and_loses_runs(
    browser: Browser, cluster: Cluster, state: str, before: int, after: int
) -> None:
    with flower(cluster) as url:
        runs = [cluster.submit(flows.fan, count=2) for _ in range(2)]
        with opened(browser, f"{url}/flows?children=shown&state={state}") as page:
            until(page, lambda rows: len(rows) == before, "nothing has ended")
            settled(page)
            with cluster.worker("--concurrency=2", "--pool=threads"):
                ended(cluster, *runs)
                until(page, lambda rows: len(rows) == after, "all have ended")


def test_older_page_gains_child_runs(browser: Browser, cluster: Cluster) -> None:
    with flower(cluster) as url:
        parent, newer = cluster.submit(flows.parent, number=1), cluster.submit(flows.fan, count=2)
        with opened(browser, f"{url}/flows?children=shown&before={newer}") as page:
            until(page, lambda rows: len(rows) == 1, "the parent is there")
            settled(page)
            with cluster.worker("--concurrency=2", "--pool=threads"):
                ended(cluster, parent, newer)
                expected = {str(parent), *children(parent)}
                until(page, lambda rows: dict(rows).keys() == expected, "children appear")


def test_list_continues_while_redis_is_away(
    browser: Browser, sqlite_url: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        cluster, redis = stack.enter_context(cluster_with_redis(sqlite_url, tmp_path / "cluster"))
        url = stack.enter_context(flower(cluster))
        page = stack.enter_context(opened(browser, f"{url}/flows?children=shown"))
        worker = stack.enter_context(ExitStack())
        worker.enter_context(cluster.worker("--concurrency=1", name="a", stop=signal.SIGKILL))
        ended(cluster, cluster.submit(flows.fan, count=1))
        worker.close()

        redis.stop()
        run_id = cluster.submit(flows.parent, number=1)
        until(page, lambda rows: str(run_id) in dict(rows), "it is there without Redis")
        redis.ensure()
        stack.enter_context(cluster.worker("--concurrency=1", name="b", stop=signal.SIGKILL))

        ended(cluster, run_id)
        until(page, lambda rows: children(run_id) <= dict(rows).keys(), "children appear")
