"""Starting runs that were recorded before they begin: delayed, debounced and singleton runs.

Such a run is `pending`, and all of its steps are. It begins by one guarded UPDATE to `running`,
when its time has come and no other run of its singleton key is in flight; a unique index keeps the
second. Then a worker is asked to advance it, as after any lost message; the sweeper asks again.

    `starts_at` is set       it begins then: a message of its own asks for that if it is soon,
                             else the sweeper sees it
    it is empty              it waits for its singleton key: the end of the run that has the key
                             starts it, and so does its own enqueue, right after the commit; so of
                             an end and an enqueue at the same moment, the later one sees both
"""

import logging
from datetime import timedelta
from typing import Final

from flowq.core.errors import BrokerUnavailable
from flowq.core.ids import RunId, batch_of_run, batch_of_start
from flowq.engine.advance.dispatch import send_advance
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Definition
from flowq.engine.model.starts import StartedRun

logger = logging.getLogger(__name__)

#: Runs that begin sooner get a message of their own; the sweeper starts the others.
_NEAR: Final = timedelta(seconds=60)
#: The least delay of a message that came too early by the database's clock.
_LEAST: Final = timedelta(milliseconds=10)
#: Runs that one pass of the sweeper starts at most.
_LIMIT: Final = 500


def send_start(engine: Engine, run_id: RunId, left: timedelta, priority: int) -> None:
    """Ask a worker to start a run after a time, if that is soon. Raises nothing."""
    if left <= _NEAR:
        send_advance(engine, [batch_of_start(run_id)], max(left, _LEAST), priority=priority)


def start_due(engine: Engine, run_id: RunId) -> None:
    """Start a run whose time has come, or the one that has replaced it in its debounce."""
    found = engine.records.autocommit(lambda tx: tx.runs.to_start(run_id))
    if found is None:
        return  # it has begun, or was cancelled and not replaced
    if found.left > timedelta(0):
        send_start(engine, found.id, found.left, found.priority)
    elif found.singleton_key is not None:
        start_next(engine, found.flow_name, found.singleton_key)
    else:
        _advance(engine, engine.records.transaction(lambda tx: tx.runs.start([found.id])))


def start_next(engine: Engine, flow_name: str, key: str) -> None:
    """Start the run that is the next of a singleton key, if none is in flight.

    Raises:
        DatabaseUnavailable: that could not be recorded.
    """
    _advance(engine, engine.records.transaction(lambda tx: tx.runs.start_next(flow_name, key)))


def key_is_free(engine: Engine, definition: Definition) -> None:
    """Start what waits for the singleton key of a run that has ended, if it has one."""
    queueing = definition.spec.queueing
    if queueing is not None and queueing.singleton is not None:
        start_next(engine, definition.flow_name, queueing.singleton_key)


def sweep_starts(engine: Engine) -> int:
    """Start runs whose time has come; returns how many there were. For the sweeper."""
    due = engine.records.autocommit(lambda tx: tx.sweeps.starting(limit=_LIMIT))
    alone = [one.id for one in due if one.singleton_key is None]
    if alone:
        _advance(engine, engine.records.transaction(lambda tx: tx.runs.start(alone)))
    in_line = [one for one in due if one.singleton_key is not None]
    if in_line:
        engine.records.transaction(lambda tx: tx.runs.line_up([one.id for one in in_line]))
    for flow_name, key in sorted({(one.flow_name, one.singleton_key or "") for one in in_line}):
        start_next(engine, flow_name, key)
    return len(due)


def _advance(engine: Engine, started: list[StartedRun]) -> None:
    for one in started:
        extra = {"action": "start", "run_id": str(one.id)}
        logger.info("run %s begins", one.id, extra=extra)
        try:
            engine.dispatcher.send_advance([batch_of_run(one.id)], priority=one.priority)
        except BrokerUnavailable as error:
            logger.warning("a run is left to the sweeper: %s", error, extra=extra)
