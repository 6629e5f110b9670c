"""Deletes what is old: runs past their retention, and objects that no row references.

The sweeper requests it once an hour, and a process that runs steps does it, since only that may
open the object store. One turn does a bounded part and saves where the next one begins.

Requests of runs that nobody has started are deleted too, and records of flows that no worker knows.

A run is deleted with all its child runs and their logs. Its rows are deleted first, then the
objects that they reference: after a crash in between the remaining objects are unreferenced, and
are deleted here too, as given values are. An unreferenced object is deleted only when it is older
than a grace and its step's row is gone or has ended with another result: then no row can reference
it later. So concurrent turns, or a turn of a worker that was suspended, delete nothing that is
needed.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from typing import Final

from flowq.core.errors import InvalidInput, RunNotFound
from flowq.core.ids import FIRST_ID, RunId
from flowq.core.results import BLOCKS, LOGS, OBJECTS
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction

logger = logging.getLogger(__name__)

#: The duty in the records, and its interval.
COLLECT: Final = "collect"
EVERY: Final = timedelta(hours=1)

#: An expired cached result is kept for this long: a step that read it just before may not have
#: recorded its hit yet.
_KEPT_EXPIRED: Final = timedelta(hours=1)

#: Runs with their child runs, and pages of objects, in one turn.
_MAX_RUNS: Final = 200
_MAX_PAGES: Final = 20
#: Bunches of logs in one statement, and such statements in one turn.
_LOG_BUNCHES: Final = 1_000
_MAX_LOG_PARTS: Final = 20


def collect(engine: Engine) -> int:
    """Do one turn.

    Returns:
        How many runs and unreferenced objects it has deleted.

    Raises:
        Unavailable: the database or the object store is unreachable.
    """
    engine.records.autocommit(lambda tx: tx.cached.purge(_KEPT_EXPIRED))
    engine.records.autocommit(lambda tx: tx.requested.purge())
    runs, more = _delete_expired(engine)
    more |= _delete_old_logs(engine)
    objects, position = _delete_unnamed(engine)
    # Remaining runs do not wait for an hour.
    engine.records.autocommit(lambda tx: tx.sweeps.save_cursor(COLLECT, position, again=more))
    if runs or objects:
        logger.info(
            "deleted %d old runs and %d objects that no row names",
            runs,
            objects,
            extra={"action": "collect", "runs": runs, "objects": objects},
        )
    return runs + objects


def _delete_expired(engine: Engine) -> tuple[int, bool]:
    """Delete runs past their retention; returns how many, and whether there are more."""
    retention, records = engine.policies.retention, engine.records
    after, deleted = RunId(FIRST_ID), 0
    while retention is not None:
        part = _MAX_RUNS - deleted
        roots = records.autocommit(partial(_expired, age=retention, after=after, limit=part))
        for root in roots:
            deleted += delete_run(engine, root)
        if len(roots) < part:
            break
        if deleted >= _MAX_RUNS:
            return deleted, True
        after = roots[-1]
    return deleted, False


def _expired(tx: Transaction, *, age: timedelta, after: RunId, limit: int) -> list[RunId]:
    return tx.sweeps.expired(age, after=after, limit=limit)


def _delete_old_logs(engine: Engine) -> bool:
    """Delete logs past their retention; returns whether there may be more."""
    kept = engine.policies.logs_kept
    if kept is None:
        return False
    for _ in range(_MAX_LOG_PARTS):
        deleted, objects = engine.records.transaction(
            lambda tx: tx.logs.expire(kept, limit=_LOG_BUNCHES)
        )
        if objects:
            engine.results.objects.delete(objects)
        if deleted < _LOG_BUNCHES:
            return False
    return True


def delete_run(engine: Engine, root: RunId) -> int:
    """Delete a run with its child runs, unless one of them is open.

    Returns:
        How many runs that were.
    """
    tree = engine.records.transaction(lambda tx: tx.sweeps.delete_tree(root))
    if tree is None:
        return 0
    if tree.objects:
        engine.results.objects.delete(tree.objects)
    for run_id in tree.runs:
        engine.definitions.forget(run_id)
    return len(tree.runs)


def delete_now(engine: Engine, run_id: RunId) -> int:
    """Delete a run with its child runs at once, whatever its age.

    Returns:
        How many runs that were.

    Raises:
        RunNotFound: there is no such run.
        InvalidInput: it, or a child run, has not ended; it is a child run; or it has a rerun.
        Unavailable: the database, or the object store, cannot be used now.
    """
    run = engine.records.autocommit(lambda tx: tx.runs.head(run_id))
    if run is None:
        raise RunNotFound.of(run_id)
    if run.status not in TERMINAL_RUN_STATES:
        raise InvalidInput(
            f"run {run_id} cannot be deleted: it is {run.status}",
            hint=f"first: flowq runs cancel {run_id} --wait",
        )
    if run.parent is not None:
        raise InvalidInput(
            f"run {run_id} cannot be deleted: it is a child run, and its parent run has its result",
            hint="delete the run that has started it",
        )
    deleted = delete_run(engine, run_id)
    if not deleted:
        raise InvalidInput(
            f"run {run_id} cannot be deleted: a child run is not finished, or a rerun exists",
            hint="delete the rerun first",
        )
    logger.info("deleted run %s on request", run_id, extra={"action": "delete", "runs": deleted})
    return deleted


def _delete_unnamed(engine: Engine) -> tuple[int, str]:
    """Delete unreferenced objects; returns how many, and where the next turn begins."""
    position = engine.records.autocommit(lambda tx: tx.sweeps.position(COLLECT))
    store, grace, deleted, pages = engine.results.objects, engine.policies.orphans_after, 0, 0
    # In the order of their keys, so that one position says where to continue.
    listed = chain.from_iterable(
        store.list(kind, after=position) for kind in (BLOCKS, LOGS, OBJECTS)
    )
    for page in islice(listed, _MAX_PAGES):
        old = [one.key for one in page if one.age >= grace]
        unnamed = engine.records.autocommit(partial(_unnamed, keys=old))
        if unnamed:
            store.delete(unnamed)
        deleted, pages, position = deleted + len(unnamed), pages + 1, page[-1].key
    return deleted, position if pages == _MAX_PAGES else ""


def _unnamed(tx: Transaction, *, keys: Sequence[str]) -> list[str]:
    return tx.sweeps.unnamed(keys)
