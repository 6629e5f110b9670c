"""The lists of the Flows tab, read over HTTP from a real Flower."""

import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import UUID

import httpx2
import pytest
import uuid_utils.compat as uuids
from sqlalchemy import insert, update

from flowq.adapters.records.migrations import migrate
from flowq.adapters.records.sql.tables import FlowRun, FlowStepRun, LlmRequest, Meter
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core.ids import RunId, earliest_id, node_id
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.spec import FlowSpec, StepSpec
from flowq.engine.model.rows import NewRun, NewStep
from tests.tools.cluster import Cluster, cluster_on
from tests.tools.flowers import flower

NOW = datetime.now(UTC)
DAILY, WEEKLY = "reports.daily", "reports & notes/weekly <b>"
RUNS = 120


@dataclass(frozen=True)
class Answer:
    """What Flower has answered."""

    status: int
    text: str

    @property
    def runs(self) -> list[str]:
        """The ids of the runs in the list, in its order."""
        return re.findall(r'<tr data-run-id="([^"]+)"', self.text)

    @property
    def links(self) -> list[str]:
        """What it links to and loads, of this host."""
        found = re.findall(r'(?:href|src|action)="([^"#][^"]*)"', self.text)
        return [unescape(link) for link in found if not link.startswith("https://")]

    @property
    def words(self) -> str:
        """What a person reads."""
        body = self.text[self.text.index("<main") : self.text.index("</main>")]
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())

    def link(self, words: str) -> str:
        """Where a link with these words leads."""
        found = re.search(rf'href="([^"]+)">\s*{re.escape(words)}\s*</a>', self.text)
        assert found is not None, f"no link {words!r}"
        return unescape(found[1])


@dataclass(frozen=True)
class Site:
    """A running Flower."""

    url: str

    def get(self, path: str, *, login: tuple[str, str] | None = None) -> Answer:
        """Ask for a page."""
        answer = httpx2.get(urllib.parse.urljoin(self.url, path), auth=login, timeout=60)
        return Answer(answer.status_code, answer.text)


def run_id(number: int) -> RunId:
    """The id of a run that was enqueued so many minutes before the newest one."""
    moment = NOW - timedelta(minutes=number)
    return RunId(UUID(int=earliest_id(moment).int | 7 << 76 | 2 << 62 | number))


def fill(tx: SqlTransaction) -> None:
    """Insert runs: every tenth one weekly; failed 0, 7, 14, …; 1 and 2 go on."""
    spec = FlowSpec(name=DAILY, steps=(StepSpec(key="fetch", name="reports.fetch"),))
    for number in range(RUNS):
        one = run_id(number)
        step = NewStep(node_id(one, "fetch"), "fetch", "reports.fetch", 1, 0, {})
        flow = DAILY if number % 10 else WEEKLY
        budget = BudgetSpec(usd=Decimal(4)) if number == 1 else None
        user = "ada" if number % 3 else "bob <i>"
        new = NewRun(one, flow, spec, {}, (step,), user_id=user, budget=budget)
        tx.runs.insert([new], timedelta(minutes=1))
        if number not in (1, 2):
            _end(tx, one, number)
    _calls(tx)


def _end(tx: SqlTransaction, one: RunId, number: int) -> None:
    failed = number % 7 == 0
    values = {
        "status": "failed" if failed else "completed",
        "created_at": NOW - timedelta(minutes=number),
        "started_at": NOW - timedelta(minutes=number),
        "completed_at": NOW,
        "execution_time_ms": 1000 * (number + 1),
        "step_progress": 1,
        "total_steps": 1,
        "total_tokens": 1500,
        "total_cost": Decimal("0.25"),
        "error_message": f"ValueError: 100% of <{number}> is wrong" if failed else None,
    }
    tx.within.execute(update(FlowRun).where(FlowRun.id == one).values(**values))
    done: dict[str, Any] = {
        "status": values["status"],
        "attempt": 1,
        "execution_time_ms": 1000 * (number + 1),
    }
    saved = {"cached_from": uuids.uuid7(), "saved_tokens": 70, "saved_cost": Decimal("0.75")}
    done |= {"completed_at": NOW, **(saved if number == 3 else {})}
    tx.within.execute(update(FlowStepRun).where(FlowStepRun.flow_run_id == one).values(**done))


def _calls(tx: SqlTransaction) -> None:
    known = {"model": "known", "cost": Decimal("1.25"), "cost_status": "known"}
    unknown = {"model": "nameless", "cost": None, "cost_status": "unknown"}
    for days_ago, call in ((0, known), (0, unknown), (3, known), (400, known)):
        row = {
            "id": uuids.uuid7(),
            "flow_name": WEEKLY,
            "user_id": "ada",
            "provider": "openai",
            "status": "completed",
            "input_tokens": 1000,
            "output_tokens": 500,
            "cached_tokens": 0,
            "attempt": 1,
            "created_at": NOW - timedelta(days=days_ago),
        }
        tx.within.execute(insert(LlmRequest).values(**row, **call))
    meter = {"key": f"run:{run_id(1)}", "began_at": NOW, "used": 9, "cost": Decimal("1.5")}
    tx.within.execute(insert(Meter).values(**meter))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker, and a database with runs."""
    folder = tmp_path_factory.mktemp("lists")
    url = f"sqlite:///{folder / 'flowq.db'}"
    migrate.upgrade(url)
    with cluster_on(url, folder / "cluster") as cluster:
        cluster.records.transaction(fill)
        yield cluster


@pytest.fixture(scope="module")
def site(filled: Cluster) -> Iterator[Site]:
    """A Flower that shows them."""
    with flower(filled) as url:
        yield Site(url)


def ids(numbers: "range | list[int]") -> list[str]:
    return [str(run_id(number)) for number in numbers]


def query(**filters: str) -> str:
    return f"/flows?{urllib.parse.urlencode(filters)}"


def test_every_run_is_on_exactly_one_page(site: Site) -> None:
    answer = site.get("/flows")
    seen, pages = answer.runs, 1
    while "Older →" in answer.words:
        answer = site.get(answer.link("Older →"))
        seen, pages = seen + answer.runs, pages + 1

    assert ids(range(RUNS)) == seen
    assert 3 == pages
    newer = site.get(answer.link("← Newer"))
    assert ids(range(50, 100)) == newer.runs
    newest = site.get(newer.link("← Newer"))
    assert ids(range(50)) == newest.runs
    assert "← Newer" not in newest.words
    assert newest.runs == site.get(answer.link("Newest")).runs


def test_pages_keep_their_filters(site: Site) -> None:
    answer = site.get(query(flow=DAILY, user="ada"))
    expected = ids([number for number in range(RUNS) if number % 10 and number % 3])

    assert expected[:50] == answer.runs
    assert expected[50:] == site.get(answer.link("Older →")).runs


@pytest.mark.parametrize(
    "filters, wanted",
    [
        ({"state": "failed"}, lambda n: n % 7 == 0),
        ({"state": "open"}, lambda n: n in (1, 2)),
        ({"flow": WEEKLY}, lambda n: n % 10 == 0),
        ({"user": "bob <i>", "state": "failed"}, lambda n: n % 21 == 0),
        ({"text": "WEEKLY <B>"}, lambda n: n % 10 == 0),
        ({"text": "100% of"}, lambda n: n % 7 == 0),
        ({"text": "of <14>"}, lambda n: n == 14),
        ({"text": str(run_id(5))[:18]}, lambda n: n == 5),
        ({"text": "weekly", "state": "failed", "user": "ada"}, lambda n: n == 70),
    ],
    # Not what is asked for: workers of a parallel run have to agree, and ids of runs are made anew.
    ids=["state", "open", "flow", "user", "name", "error", "signs", "id", "combined"],
)
def test_filters(site: Site, filters: dict[str, str], wanted: Callable[[int], bool]) -> None:
    answer = site.get(query(**filters))

    assert ids([number for number in range(RUNS) if wanted(number)]) == answer.runs


def test_runs_of_the_last_hour(site: Site) -> None:
    """Each minute one more leaves it, also while Flower answers."""

    def within() -> list[int]:
        since = datetime.now(UTC) - timedelta(hours=1)
        return [one for one in range(0, RUNS, 7) if NOW - timedelta(minutes=one) > since]

    before = within()
    answer = site.get(query(within="hour", state="failed"))
    after = within()

    assert ids(before)[: len(answer.runs)] == answer.runs
    assert len(after) <= len(answer.runs) <= len(before)


def test_runs_between_two_times(site: Site) -> None:
    begin, end = (NOW - timedelta(minutes=10)), (NOW - timedelta(minutes=5))

    answer = site.get(query(**{"from": begin.isoformat(), "to": end.isoformat()}))

    assert ids(range(6, 11)) == answer.runs


def test_row_shows_its_run(site: Site) -> None:
    answer = site.get(query(text=str(run_id(14))))

    for words in ("✗ failed", DAILY, str(run_id(14))[:18], "15.0 s", "1 of 1", "1,500", "$0.2500"):
        assert words in answer.words
    assert "ValueError: 100% of <14> is wrong" in answer.words
    assert f"/flows/{run_id(14)}" in answer.links
    assert "<b>" not in site.get("/flows").text


def test_strip_has_the_last_runs_of_each_flow(site: Site) -> None:
    answer = site.get("/flows")
    blocks = re.findall(r'<a data-status="(\w+)" href="/flows/([^"]+)"', answer.text)

    daily = [number for number in range(RUNS) if number % 10][:20]
    weekly = [number for number in range(RUNS) if number % 10 == 0]
    assert ids(weekly[::-1] + daily[::-1]) == [run for _, run in blocks]
    assert ("failed", str(run_id(0))) in blocks
    assert ("running", str(run_id(1))) in blocks


def test_strips_of_many_flows_are_a_click_away(cluster: Cluster) -> None:
    spec = FlowSpec(name="any", steps=(StepSpec(key="fetch", name="reports.fetch"),))
    runs = [NewRun(run_id(number), f"flow-{number:02}", spec, {}, ()) for number in range(60)]
    cluster.records.transaction(lambda tx: tx.runs.insert(runs, timedelta(minutes=1)))
    names = [run.flow_name for run in runs]
    strip = re.compile(r'class="flowq-strip-name"[^>]*>([^<]+)<')

    with flower(cluster) as url:
        site = Site(url)
        some = site.get("/flows?user=nobody")
        more = site.get(some.link("More flows"))

    assert names[:8] == strip.findall(some.text)
    assert names[:50] == strip.findall(more.text)
    assert "the 50 flows that ran last" in more.words
    assert "No run matches" in more.words
    assert sorted(names) == re.findall(r'<option value="(flow-[^"]+)"', some.text)


def test_links_lead_somewhere(site: Site) -> None:
    pages = ["/flows", "/flows/cost", f"/flows/by-name/{urllib.parse.quote(WEEKLY, safe='')}"]
    links = {link for page in pages for link in site.get(page).links}
    some = {re.sub(r"[0-9a-f-]{36}", "ID", link): link for link in links if "flows" in link}

    del some["/flows/compare"]  # a form that names two runs
    assert len(some) > 15
    assert {} == {link: status for link in some.values() if (status := site.get(link).status) > 200}


def test_nothing_matches(site: Site) -> None:
    answer = site.get(query(user="nobody"))

    assert 200 == answer.status
    assert "No run matches" in answer.words
    assert 200 == site.get(answer.link("show all runs")).status


def test_nothing_has_run_yet(cluster: Cluster) -> None:
    with flower(cluster) as url:
        site = Site(url)
        for page in ("/flows", query(state="failed")):
            answer = site.get(page)
            assert "No flow has run yet" in answer.words
            assert "flowq demo" in answer.words
        assert "No model was called" in site.get("/flows/cost").words


@pytest.mark.parametrize(
    "path, status, words",
    [
        (query(state="done"), 400, "no state “done”"),
        (query(**{"from": "soon"}), 400, "“soon” is not a time"),
        (query(before="1"), 400, "not a page of this list"),
        (query(within="year"), 400, "“year”"),
        (query(text="x" * 300), 400, "longer than 200"),
        (query(text="%_\\' "), 200, "No run matches"),
        (query(before="0" * 32), 200, "No run matches"),
        ("/flows/cost?window=year", 400, "“year”"),
        ("/flows/by-name/nothing", 404, "no run of a flow 'nothing'"),
        (f"/flows/by-name/{DAILY}?window=x", 400, "“x”"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(
    site: Site, path: str, status: int, words: str
) -> None:
    answer = site.get(path)

    assert status == answer.status
    assert words in answer.words
    assert [] == answer.runs


def test_page_of_a_flow(site: Site) -> None:
    answer = site.get(f"/flows/by-name/{DAILY}?window=day")
    daily = [number for number in range(RUNS) if number % 10]
    completed = [n for n in daily if n % 7 and n > 2]
    failed = [n for n in daily if n % 7 == 0]

    share = 100 * len(completed) / (len(completed) + len(failed))
    assert f"{len(daily)} {len(completed)} completed, {len(failed)} failed, 2 open" in answer.words
    assert f"{share:.1f} %" in answer.words
    assert "median of completed runs; p95 1 min 55 s" in answer.words
    assert "Cost per run $0.2500" in answer.words
    assert re.search(r"<svg.*>fetch<.*</svg>", answer.text, re.DOTALL)
    assert f"✗ {len([n for n in failed if n <= 111])} failed" in answer.words


def test_page_of_costs(site: Site) -> None:
    answer = site.get("/flows/cost")

    assert "Cost $2.50 + 1 unknown without 1 call whose cost is unknown" in answer.words
    assert "$0.7500 1 result reused, 70 tokens" in answer.words
    assert "openai:known 2 3,000 $2.50" in answer.words
    assert "openai:nameless 1 1,500 unknown" in answer.words
    assert f"{(NOW - timedelta(days=3)).date()}: $1.25, 1 call" in answer.words
    assert f"{NOW.date()}: $1.25 + 1 unknown, 2 calls" in answer.words
    assert f"{(NOW - timedelta(days=1)).date()}: $0, 0 calls" in answer.words
    assert "$1.50 of $4.00 $2.50" in answer.words
    assert "Cost $1.25" not in site.get(query(user="ada").replace("flows?", "flows/cost?")).words
    assert "No call of a model matches" in site.get("/flows/cost?user=bob").words


def test_every_link_has_the_prefix(filled: Cluster) -> None:
    with flower(filled, prefix="dash") as url:
        site = Site(url)
        weekly = urllib.parse.quote(WEEKLY, safe="")
        pages = ["/dash/flows", "/dash/flows/cost", f"/dash/flows/by-name/{weekly}"]
        answers = [site.get(page) for page in [*pages, "/dash/flows?state=failed&user=ada"]]

        assert [200] * 4 == [answer.status for answer in answers]
        links = {link for answer in answers for link in answer.links}
        assert {f"/dash/flows/{run_id(14)}", "/dash/flows/cost"} < links
        assert [] == [link for link in links if not link.startswith("/dash/")]
        assert ids(range(50, 100)) == site.get(answers[0].link("Older →")).runs


def test_pages_are_behind_the_login(filled: Cluster) -> None:
    with flower(filled, "--basic_auth=ada:secret") as url:
        site = Site(url)
        for page in ("/flows", "/flows/cost", f"/flows/by-name/{DAILY}"):
            assert 401 == site.get(page).status
            assert 401 == site.get(page, login=("ada", "wrong")).status
            assert 200 == site.get(page, login=("ada", "secret")).status
