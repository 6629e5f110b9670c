"""F1 for playbooks: workers are killed, and neither a result nor a log shows it.

Each playbook runs twice, first undisturbed. A reader follows the log of the second run: what it has
read must be the begin of the whole log.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowq.core.ids import RunId, node_id
from flowq.core.states import StepState
from flowq.playbooks.building import Playbook
from flowq.playbooks.running import tools
from flowq.playbooks.running.answers import Answers
from flowq.playbooks.running.log import LogEvent, replayed
from flowq.settings import Settings
from tests.chaos.harness import playbooks
from tests.chaos.harness.breakable import children
from tests.chaos.harness.playbooks import Pages
from tests.chaos.harness.scenario import Play, Scenario
from tests.tools.playbooks.busy import busy_documents, check_any_order
from tests.tools.playbooks.strategies import documents
from tests.tools.waiting import wait_until

_TIMES: Final = ("elapsed_ms", "worker_id")
#: What depends on which branch comes first.
_ORDER: Final = ("command_id", "_arrivals")

Fact = tuple[str, str, str, Any]


def log(chaos: Scenario, run_id: RunId) -> list[LogEvent]:
    engine = chaos.cluster.engine
    return Answers(engine, run_id).events(replayed(engine, run_id).events)


def facts(run_id: RunId, events: Sequence[LogEvent], apart: Sequence[str]) -> list[Fact]:
    """Return what the events of a run say, without its id, times, workers and what is `apart`."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            kept = {key: plain(item) for key, item in value.items() if key not in hidden}
            return tuple(sorted(kept.items()))
        if isinstance(value, list):
            return tuple(map(plain, value))
        return value.replace(str(run_id), "RUN") if isinstance(value, str) else value

    hidden = {*_TIMES, *apart}
    return [(one.event_type, one.node_name, one.status, plain(one.payload)) for one in events]


def check_order(events: Sequence[LogEvent]) -> None:
    """Check that each command was issued, begun and ended once, in this order."""
    assert list(range(1, len(events) + 1)) == [one.event_id for one in events]
    parts: dict[int, list[str]] = defaultdict(list)
    for one in events:
        if one.event_type.startswith("command."):
            parts[one.payload["command_id"]].append(one.event_type.partition(".")[2])
    ends = Counter(lifes.pop() for lifes in parts.values())
    assert {"completed", "failed"} >= set(ends)
    assert all(["issued", "claimed", "started"] == lifes for lifes in parts.values())
    assert list(range(1, len(parts) + 1)) == sorted(parts)


@contextmanager
def read_on(chaos: Scenario, run_id: RunId) -> Iterator[list[int]]:
    """Read a log again and again; give how long it was each time."""
    lengths: list[int] = []
    before: list[LogEvent] = []

    def read() -> None:
        now = log(chaos, run_id)
        assert before == now[: len(before)]
        before[:] = now
        lengths.append(len(now))

    with chaos.monkey(read, every=(0.05, 0.3)):
        yield lengths
    read()


class Twice:
    """A playbook that runs undisturbed, and then while workers die."""

    def __init__(self, chaos: Scenario, book: Playbook, url: str, expected: Any) -> None:
        self._chaos, self._book, self._expected = chaos, book, expected
        self.hold = chaos.folder / "hold"
        self._payload = {"url": url, "hold": str(self.hold)}
        self.first = self.submit()
        chaos.cluster.wait(self.first, timeout=300)

    def submit(self) -> RunId:
        """Start it once more."""
        self.second = self._chaos.submit(self._book.flow, self._expected, payload=self._payload)
        return self.second

    def is_at(self, step: str) -> bool:
        """Return whether a worker runs a call of a step of the second run.

        It has the call a moment before it leaves a line in the ledger.
        """
        begun = {line["step"] for line in self._chaos.effects()}
        return any(
            node_id(self.second, one.key).hex in begun
            and one.name == "flowq.tool.python"
            and one.key.startswith(f"{step}#")
            and one.status is StepState.RUNNING
            and one.worker is not None
            for one in self._chaos.cluster.view(self.second).steps
        )

    def check(self, *, apart: Sequence[str] = ()) -> int:
        """Compare the two logs; return how many events each has."""
        both = []
        for run_id in (self.first, self.second):
            events = log(self._chaos, run_id)
            check_order(events)
            both.append(facts(run_id, events, apart))
        first, second = both
        assert [] == list((Counter(first) - Counter(second)).elements())
        assert [] == list((Counter(second) - Counter(first)).elements())
        assert apart or first == second
        return len(first)


def test_killed_workers_leave_a_complete_log(play: Play, sqlite_url: str) -> None:
    """A worker dies with a page, the next one with an item of a loop."""
    pages = Pages(6)
    book, expected = playbooks.one_after_the_other(9), playbooks.outcome(6, 9)
    with (
        pages.serving() as url,
        play(sqlite_url, **playbooks.ENVIRONMENT, FLOWQ_MAX_RECOVERIES="50") as chaos,
        chaos.kept_alive(["one"], slots=2) as alive,
    ):
        twice = Twice(chaos, book, url, expected)
        pages.held = 3
        with read_on(chaos, twice.submit()) as lengths:
            wait_until(pages.waiting.is_set, what="a page is asked for")
            twice.hold.touch()
            chaos.kill(alive["one"])
            pages.release()
            wait_until(
                lambda: alive["one"].poll() is None and twice.is_at("squares"),
                timeout=180,
                what="an item runs",
            )
            chaos.kill(alive["one"])
            twice.hold.unlink()
            chaos.check()

        events = twice.check()
        assert events == lengths[-1]
        assert 2 == chaos.figures.kills <= chaos.figures.duplicates
        assert 1 <= pages.repeated
        chaos.figures.note = f"{events} events, read {len(lengths)} times"


@pytest.mark.chaos
def test_random_kills_change_neither_result_nor_log(play: Play, database_url: str) -> None:
    """Four branches with pages, loops in both modes, retries, and a join: some 200 calls."""
    pages = Pages(25)
    book, expected = playbooks.all_at_once(50), playbooks.outcome(25, 50)
    with (
        pages.serving() as url,
        # Each attempt that nobody has killed keeps its lease, so it repeats no request.
        play(
            database_url,
            **playbooks.ENVIRONMENT,
            FLOWQ_MAX_RECOVERIES="50",
            FLOWQ_LEASE_SECONDS="10",
        ) as chaos,
        chaos.kept_alive(["one", "two"], slots=2) as alive,
    ):
        twice = Twice(chaos, book, url, expected)

        def kill() -> None:
            worker = chaos.random.choice(list(alive.values()))
            if worker.poll() is not None:
                return
            if chaos.random.random() < 0.6:
                chaos.kill(worker)
            elif pids := children(worker.pid):
                chaos.kill_child(chaos.random.choice(pids))

        with read_on(chaos, twice.submit()) as lengths, chaos.monkey(kill, every=(0.5, 2.5)):
            wait_until(lambda: not chaos.open_runs(), timeout=600, what="the run ends")
        chaos.check()

        events = twice.check(apart=_ORDER)
        assert events == lengths[-1]
        assert chaos.figures.kills >= 3
        assert pages.repeated <= 2 * chaos.figures.kills
        chaos.figures.note = f"{events} events, {pages.repeated} requests repeated"


@pytest.mark.chaos
@pytest.mark.parametrize("drawn", [busy_documents(), documents(runnable=True)])
@pytest.mark.parametrize("part", [1, 2])
def test_random_documents_are_deterministic(
    drawn: Any,
    part: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """200 documents of each kind, replayed from each prefix of their histories."""
    given_ = Settings(playbook_python="inline")
    monkeypatch.setattr(tools, "current_settings", lambda: given_)

    @given(drawn, st.integers(0, 2**16))
    @settings(max_examples=100, deadline=None)
    def check(document: Any, seed: int) -> None:
        check_any_order(document, seed)

    check()
