"""The script of live pages in a real browser, on a page of its own with all that it knows.

The page's markup is this test's; the script, the streams and the runs are real.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template

from playwright.sync_api import Browser, Dialog, Page, Route

from flowq.core.ids import RunId
from tests.acceptance.apps import worker_flows as flows
from tests.tools import servers
from tests.tools.cluster import Cluster
from tests.tools.flowers import flower

SCRIPTS = "".join(
    f'<script src="$url/flows/static/{name}" defer></script>'
    for name in ("vendor/idiomorph-0.8.0.min.js", "connection.js", "flowq.js")
)
RUN = Template(
    """<!doctype html><html lang="en">
<head><meta charset="utf-8"><title>$name</title></head><body>
<main data-live-page data-live="$url/flows/$run/live">
<section data-run-id="$run" data-run-status="$status" data-status="$status">
  <span data-cell="status"><span data-sign>$sign</span> <span data-name>$status</span></span>
  <b data-cell="done">0 of 9</b> <b data-cell="duration"></b>
  <div role="progressbar" data-progress="0"><div class="progress-bar" style="width: 0%"></div></div>
</section>
<div><a href="#here" id="link">here</a><table>
  $rows
</table><output>$loaded</output></div>
<form data-confirm="Cancel it?" action="$url/flows"><button>Cancel</button></form>
</main>$scripts</body></html>""".replace("$scripts", SCRIPTS)
)
ROW = Template("""<tr data-step="$key" data-status="pending"><td data-cell="status">pending</td>
<td data-cell="attempt"></td><td data-cell="done"></td><td data-cell="duration"></td></tr>""")
LIST = Template(
    """<!doctype html><html lang="en">
<head><meta charset="utf-8"><title>List</title></head><body>
<main data-live-page data-live="$url/flows/live"><div><table>$rows</table></div>
</main>$scripts</body></html>""".replace("$scripts", SCRIPTS)
)
LINE = Template("""<tr data-run-id="$run" data-status="running"><td data-cell="status">running</td>
<td data-cell="done"></td><td><div data-progress="0"></div></td></tr>""")


@contextmanager
def opened(browser: Browser, address: str, html: Callable[[], str]) -> Iterator[Page]:
    """Open a page that is made anew each time it is fetched; fails when the console complains."""
    context = browser.new_context()
    context.set_default_timeout(60_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.route(address, lambda route: route.fulfill(body=html(), content_type="text/html"))
    page.goto(address)
    page.evaluate("window.marker = 1")
    try:
        yield page
        assert 1 == page.evaluate("window.marker")  # it was not loaded anew
        # That Flower was away is what the browser itself complains about.
        assert [] == [error for error in errors if "ERR_" not in error]
    finally:
        context.close()


def until(page: Page, expression: str) -> None:
    page.wait_for_function(expression, timeout=60_000)


def test_bar_moves_and_steps_appear_without_a_reload(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    shown = ["hold", "echo"]
    loaded = [0]
    with cluster.worker("--concurrency=1", stop=signal.SIGKILL), flower(cluster) as url:
        run_id = cluster.submit(flows.holding, folder=str(tmp_path))

        def html() -> str:
            loaded[0] += 1
            rows = "".join(ROW.substitute(key=key) for key in shown)
            status = cluster.records.autocommit(lambda tx: tx.runs.status(run_id))
            given = {"name": "run", "url": url, "run": run_id, "rows": rows, "loaded": loaded[0]}
            return RUN.substitute(given, status=status, sign="✓" if status == "completed" else "●")

        with opened(browser, f"{url}/flows/{run_id}", html) as page:
            until(page, "document.querySelector('[data-step=hold]').dataset.status == 'running'")
            until(page, "/\\d s/.test(document.querySelector('section time').textContent)")
            assert "0 of 3" == page.inner_text("section [data-cell=done]")
            shown.append("double")  # it is announced later, and looked for in what is fetched anew
            page.focus("#link")
            (tmp_path / "go").touch()

            until(page, "document.querySelector('[role=progressbar]').ariaValueNow == 100")
            until(page, "document.querySelector('[data-step=double]')")
            until(page, "document.querySelector('section').dataset.runStatus == 'completed'")
            assert "100%" == page.evaluate("document.querySelector('.progress-bar').style.width")
            assert ("✓", "completed", "3 of 3") == (
                page.inner_text("section [data-sign]"),
                page.inner_text("section [data-name]"),
                page.inner_text("section [data-cell=done]"),
            )
            until(page, "!document.querySelector('section time')")  # the clock has stopped
            assert "link" == page.evaluate("document.activeElement.id")
            assert loaded[0] < 8

            asked: list[str] = []

            def refuse(dialog: Dialog) -> None:
                asked.append(dialog.message)
                dialog.dismiss()

            page.on("dialog", refuse)
            page.click("button")
            assert ["Cancel it?"] == asked


def test_list_gets_new_runs_and_moves_their_bars(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    shown: list[RunId] = []
    with cluster.worker("--concurrency=1", stop=signal.SIGKILL), flower(cluster) as url:

        def html() -> str:
            rows = "".join(LINE.substitute(run=run_id) for run_id in shown)
            return LIST.substitute(url=url, rows=rows)

        with opened(browser, f"{url}/flows/test", html) as page:
            shown.append(cluster.submit(flows.holding, folder=str(tmp_path)))
            until(page, "document.querySelector('tr[data-run-id]')")
            until(page, "document.querySelector('[data-cell=done]').textContent == '0 of 3'")
            (tmp_path / "go").touch()
            until(page, "document.querySelector('tr').dataset.status == 'completed'")
            until(page, "document.querySelector('[data-progress]').style.width == '100%'")


def test_list_that_could_not_be_fetched_is_fetched_again(
    browser: Browser, cluster: Cluster
) -> None:
    answers: list[int] = []

    def answer(route: Route) -> None:
        # The page itself comes; it is fetched anew in vain twice.
        answers.append(503 if len(answers) in {1, 2} else 200)
        rows = LINE.substitute(run=run_id) if len(answers) > 3 else ""
        route.fulfill(
            body=LIST.substitute(url=url, rows=rows), content_type="text/html", status=answers[-1]
        )

    with flower(cluster) as url:
        run_id = cluster.submit(flows.fan, count=1)
        page = browser.new_page()
        try:
            page.route(f"{url}/flows/test", answer)
            page.goto(f"{url}/flows/test")
            until(page, "document.querySelector('tr[data-run-id]')")
        finally:
            page.close()
    assert [200, 503, 503, 200] == answers[:4]


def test_page_says_that_it_is_offline_and_continues_when_flower_is_back(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        stack.enter_context(cluster.worker("--concurrency=1", stop=signal.SIGKILL))
        port = servers.free_port()
        first = ExitStack()
        stack.callback(first.close)
        url = first.enter_context(flower(cluster, port=port))
        run_id = cluster.submit(flows.holding, folder=str(tmp_path))
        given = {"name": "run", "url": url, "run": run_id, "loaded": 1}

        def html() -> str:
            # As the server's page would: the end of a run lets the page be fetched anew.
            status = cluster.records.autocommit(lambda tx: tx.runs.status(run_id))
            given.update(status=status, sign="✓" if status == "completed" else "●")
            return RUN.substitute(given, rows=ROW.substitute(key="hold"))

        page = stack.enter_context(opened(browser, f"{url}/flows/{run_id}", html))
        until(page, "document.querySelector('[data-step=hold]').dataset.status == 'running'")

        first.close()
        until(page, "document.querySelector('.flowq-offline').textContent.includes('reconnecting')")
        assert "polite" == page.get_attribute(".flowq-offline", "aria-live")
        stack.enter_context(flower(cluster, port=port))
        (tmp_path / "go").touch()

        until(page, "document.querySelector('section').dataset.runStatus == 'completed'")
        until(page, "document.querySelector('.flowq-offline').textContent == ''")
