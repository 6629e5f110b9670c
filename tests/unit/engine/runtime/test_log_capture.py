"""The handler that gives records of steps to the logs of their attempts."""

import logging
from contextvars import copy_context
from typing import Any

import pytest
import uuid_utils.compat as uuids

from flowq.core.ids import LeaseToken, RunId, node_id
from flowq.engine.model.logs import StoredLine
from flowq.engine.model.rows import Claim
from flowq.engine.runtime.context import StepContext, enter
from flowq.engine.runtime.log_capture import LogCapture, install
from flowq.engine.runtime.logs.attempt_log import AttemptLog

RUN = RunId(uuids.uuid7())
CLAIM = Claim(node_id(RUN, "a"), RUN, "a", None, 1, 0, LeaseToken(uuids.uuid7()), {})


class Taken:
    def __init__(self) -> None:
        self.lines: list[StoredLine] = []

    def put(self, log: AttemptLog, line: StoredLine) -> None:
        self.lines.append(line)


def handled(*records: logging.LogRecord, keeps: bool = True) -> list[StoredLine]:
    """Return what is kept of records that the code of a step makes."""
    taken = Taken()
    log = AttemptLog(CLAIM, taken, 64 * 1024) if keeps else None
    adapter = logging.LoggerAdapter(logging.getLogger("a"), {})
    context = StepContext(RUN, CLAIM.id, "a", None, 1, "key", adapter, log=log)

    def run() -> None:
        enter(context)
        for one in records:
            LogCapture(logging.INFO).handle(one)

    copy_context().run(run)
    return taken.lines


def record(message: str, *args: Any, name: str = "app") -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, "file.py", 1, message, args, None)


def test_record_is_kept_with_its_time_level_and_logger() -> None:
    made = record("n is %d", 3)

    assert handled(made) == [StoredLine(int(made.created * 1e6), logging.INFO, "app", "n is 3")]


def test_nothing_is_kept_outside_of_steps_or_where_no_log_is() -> None:
    LogCapture(logging.INFO).handle(record("outside"))

    assert handled(record("a"), keeps=False) == []
    assert handled(record("printed", name="celery.redirected")) == []


def test_wrong_record_fails_no_step(capsys: pytest.CaptureFixture[str]) -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    lines = handled(record("%d %d", 1), record("%s", Bad()), record("right"))

    assert [line.message for line in lines] == ["right"]
    assert capsys.readouterr().err.count("--- Logging error ---") == 2


def test_it_is_installed_once_and_flushed_when_logging_ends() -> None:
    flushed: list[bool] = []
    logger = logging.getLogger("tests.its_own")
    logger.addHandler(kept := logging.NullHandler())
    for _ in range(2):
        install(handler := LogCapture(logging.INFO, lambda: flushed.append(True)), [logger])

    assert logger.handlers == [kept, handler]
    handler.flush()
    assert flushed == [True]
