"""The thread that writes logs: few transactions, no line twice, and no step that waits for it."""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import uuid_utils.compat as uuids

from flowq.adapters.results.memory import MemoryObjects
from flowq.core.errors import DatabaseRefused, DatabaseUnavailable, StoreUnavailable
from flowq.core.ids import LeaseToken, RunId, node_id
from flowq.engine.model.logs import DroppedBunches, LogBunch
from flowq.engine.model.rows import Claim
from flowq.engine.runtime.logs import writer
from flowq.engine.runtime.logs.attempt_log import AttemptLog
from flowq.engine.runtime.logs.writer import ROW_BYTES, LogWriter

MIB = 1024 * 1024


class Rows:
    """Records of which only the logs are used."""

    def __init__(self) -> None:
        self.transactions: list[list[LogBunch]] = []
        self.errors: list[Exception] = []
        self.bad: set[Any] = set()
        self.tries = 0
        self.open = threading.Event()
        self.open.set()

    @property
    def logs(self) -> "Rows":
        return self

    def transaction(self, work: Callable[["Rows"], Any]) -> Any:
        assert self.open.wait(60)
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return work(self)

    def write(
        self, bunches: Sequence[LogBunch], displaced: Sequence[DroppedBunches] = ()
    ) -> list[str]:
        if self.bad & {bunch.step_id for bunch in bunches}:
            raise DatabaseRefused("no such step")
        self.transactions.append(list(bunches))
        return []

    def texts(self) -> list[str]:
        bunches = [bunch for part in self.transactions for bunch in part]
        return [line[3] for bunch in bunches for line in json.loads(bunch.data)]


class Away(MemoryObjects):
    """A store that is away."""

    def put(self, key: str, data: Any) -> None:
        raise StoreUnavailable("away")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_PAUSE", 0.01)


def new_writer(rows: Rows, objects: Any = None, **options: Any) -> LogWriter:
    store = objects or MemoryObjects()
    return LogWriter(rows, lambda: store, MIB, **{"interval": 0.05, **options})  # type: ignore[arg-type]


def new_log(logs: LogWriter) -> AttemptLog:
    run_id = RunId(uuids.uuid7())
    token = LeaseToken(uuids.uuid7())
    return logs.attempt(Claim(node_id(run_id, "a"), run_id, "a", None, 1, 0, token, {}))


def say(log: AttemptLog, *texts: str) -> None:
    for text in texts:
        log.add(1.0, logging.INFO, "app", text)


def test_lines_of_many_attempts_are_one_transaction() -> None:
    rows = Rows()
    logs = new_writer(rows, interval=60)
    for _ in range(20):
        say(new_log(logs), "a", "b")

    assert logs.flush(60)

    [bunches] = rows.transactions
    assert [bunch.line_count for bunch in bunches] == [2] * 20


def test_nothing_is_written_before_there_is_a_line() -> None:
    rows = Rows()
    logs = new_writer(rows)
    before = set(threading.enumerate())  # threads of other tests may end meanwhile
    new_log(logs)

    assert logs.flush(60)
    assert set(threading.enumerate()) <= before
    assert rows.tries == 0


def test_lines_wait_while_the_database_is_away(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows()
    rows.errors = [DatabaseUnavailable("away") for _ in range(3)]
    logs = new_writer(rows)
    log = new_log(logs)
    say(log, "a")
    assert logs.flush(60)
    say(log, "b")
    assert logs.flush(60)

    assert rows.texts() == ["a", "b"]
    assert [part[0].first_line for part in rows.transactions] == [0, 1]
    assert caplog.text.count("lines of steps wait") == 1


def test_no_step_waits_and_dropped_lines_are_counted() -> None:
    rows = Rows()
    rows.open.clear()
    logs = new_writer(rows, max_lines=10, interval=60)
    log, other = new_log(logs), new_log(logs)
    say(log, *[f"{number}" for number in range(25)])
    say(other, "dropped too")
    rows.open.set()
    assert logs.flush(60)
    say(log, "later")
    assert logs.flush(60)

    of_log = [one for part in rows.transactions for one in part if one.token == log._claim.token]
    assert [(one.first_line, one.line_count, one.missing) for one in of_log] == [
        (0, 10, 0),
        (10, 0, 15),
        (25, 1, 0),
    ]
    assert rows.texts() == [*[f"{number}" for number in range(10)], "later"]
    assert [1] == [one.missing for one in rows.transactions[0] if one.token == other._claim.token]


def test_what_the_database_refuses_takes_nothing_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = Rows()
    logs = new_writer(rows, interval=60)
    good, bad, last = new_log(logs), new_log(logs), new_log(logs)
    rows.bad = {bad._claim.id}
    for log, text in ((good, "good"), (bad, "bad"), (last, "last")):
        say(log, text)

    assert logs.flush(60)

    assert rows.texts() == ["good", "last"]
    assert "1 lines of a step are lost" in caplog.text


def test_large_bunches_are_objects() -> None:
    rows, objects = Rows(), MemoryObjects()
    logs = new_writer(rows, objects, interval=60)
    small, large = new_log(logs), new_log(logs)
    say(small, "x" * 100)
    say(large, *["x" * 10_000] * 8)
    assert logs.flush(60)

    [[one, two]] = rows.transactions
    assert one.object_key is None
    assert len(two.data) > ROW_BYTES
    claim = large._claim
    assert two.object_key == f"logs/{claim.run_id}/{claim.id}/{claim.token}.0"
    assert objects.get(two.object_key) == two.data


def test_large_bunches_are_rows_while_the_store_is_away() -> None:
    rows = Rows()
    logs = new_writer(rows, Away(), interval=60)
    say(new_log(logs), *["x" * 10_000] * 8)

    assert logs.flush(60)

    [[bunch]] = rows.transactions
    assert bunch.object_key is None


def test_flush_does_not_wait_for_ever() -> None:
    rows = Rows()
    rows.open.clear()
    logs = new_writer(rows)
    say(new_log(logs), "a")

    assert not logs.flush(0.1)

    rows.open.set()
    assert logs.flush(60)
