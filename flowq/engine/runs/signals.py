"""Signals: messages from outside that a program awaits with `flowq.signal`.

A signal is stored first, so it may come before the program waits for it. Then it is given to the
oldest wait for its name, and the program is woken. After a crash between the two, the sweeper
delivers it.

The JSON schema of a wait is checked when the signal is sent, so that the sender gets the error.
Before the first wait for a name no schema is known; then the program skips signals that do not fit.
"""

import logging
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Any

from flowq.core.errors import InvalidInput, RunNotFound, SignalRefused
from flowq.core.graph import MAX_NAME_LENGTH
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.advance.dispatch import after_commit
from flowq.engine.advance.wake import program_of, wake_after
from flowq.engine.engine import Engine
from flowq.engine.model.actions import ActionKind
from flowq.engine.model.rows import NewSignal
from flowq.engine.ports import Transaction
from flowq.engine.runs.actors import new_action
from flowq.engine.runs.options import is_storable, plain_of, size_of

logger = logging.getLogger(__name__)

#: Problems of one message that an error lists, at most.
_LISTED = 10


def send_signal(
    engine: Engine, run_id: RunId, name: str, payload: Any = None, *, session: object = None
) -> None:
    """Send a signal to a run.

    Args:
        run_id: The run; if it has continued as another run, that one gets the signal.
        name: The name of the signal.
        payload: Its data: JSON data, or a pydantic model.
        session: The caller's transaction; the signal is sent if and when it commits.

    Raises:
        RunNotFound: there is no such run.
        SignalRefused: the run has ended, or its flow takes no signals.
        InvalidInput: the name or the payload is not allowed, or does not fit the program's wait;
            nothing was stored.
        DatabaseUnavailable: it could not be stored.
    """
    run_id = _open_run(engine, run_id)
    signal = NewSignal(engine.new_id(), run_id, _name(name), _payload(engine, name, payload))
    wanted = engine.records.autocommit(lambda tx: tx.signals.wanted(run_id, name))
    if wanted is not None:
        _check(name, wanted, signal.payload)
    else:
        _warn_of_slip(engine, run_id, name)
    made = new_action(engine, run_id, ActionKind.SIGNAL, {"name": name})
    action = replace(made, id=signal.id)

    def store(tx: Transaction) -> None:
        tx.signals.insert(signal)
        tx.actions.insert(action)

    if session is None:
        engine.records.transaction(store)
        _deliver_after_commit(engine, run_id)
        return
    enlisted = engine.records.enlist(session)
    enlisted.after_transaction(partial(_deliver_after_commit, engine, run_id))
    enlisted.work(store)


def deliver(engine: Engine, run_id: RunId) -> None:
    """Match the signals of a run with its waits, and wake the program."""
    program = program_of(engine, run_id)  # it may read, so not within the transaction

    def give(tx: Transaction) -> tuple[RunId | None, list[str]]:
        successor = tx.runs.continued_as(run_id)
        if successor is not None:
            tx.signals.move(run_id, successor)
            return successor, []
        tx.signals.lock(program)
        return None, tx.signals.match(run_id, advanced=False)

    successor, keys = engine.records.transaction(give)
    if successor is not None:
        deliver(engine, successor)
    for key in keys:
        wake_after(engine, run_id, key)


def newest(engine: Engine, run_id: RunId) -> RunId:
    """Return the run as which a run continues, followed to the last one."""
    following: RunId | None = run_id
    while following is not None:
        run_id = following
        following = engine.records.autocommit(partial(_continued_as, run_id=run_id))
    return run_id


def _continued_as(tx: Transaction, run_id: RunId) -> RunId | None:
    return tx.runs.continued_as(run_id)


def _status(tx: Transaction, run_id: RunId) -> RunState | None:
    return tx.runs.status(run_id)


def _deliver_after_commit(engine: Engine, run_id: RunId) -> None:
    """Deliver what is stored. Raises nothing."""
    with after_commit("a signal of run %s is stored; the sweeper will deliver it", run_id):
        deliver(engine, run_id)


def _open_run(engine: Engine, run_id: RunId) -> RunId:
    """Return the run that takes the signals of a run: itself, or its continuation."""
    following: RunId | None = run_id
    while following is not None:
        run_id = following
        # The state is read first: if the run continues as another meanwhile, its row names that.
        state = engine.records.autocommit(partial(_status, run_id=run_id))
        following = engine.records.autocommit(partial(_continued_as, run_id=run_id))
    if state is None:
        raise RunNotFound.of(run_id)
    if engine.definitions.get(run_id).definition.spec.program is None:
        raise SignalRefused(
            f"run {run_id} belongs to a `def` flow, which takes no signals",
            hint="only an `async def` flow waits for signals: await flowq.signal(…)",
        )
    if state in TERMINAL_RUN_STATES:
        ended = "was cancelled" if state is RunState.CANCELLED else f"has {state}"
        raise SignalRefused(f"run {run_id} {ended}", hint=f"flowq runs show {run_id}")
    return run_id


def _name(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not is_storable(name):
        raise InvalidInput(
            f"the name of a signal is {name!r}",
            hint=f"give text of 1 to {MAX_NAME_LENGTH} characters",
        )
    return name


def _payload(engine: Engine, name: str, payload: Any) -> Any:
    what = f"the data of the signal {name!r}"
    data = plain_of(payload, what)
    size_of(data, what, engine.policies.input_limit_bytes)
    return data


def _warn_of_slip(engine: Engine, run_id: RunId, name: str) -> None:
    """Warn of a name that is almost one that the program waits for."""
    awaited = engine.records.autocommit(lambda tx: tx.signals.awaited(run_id))
    near = get_close_matches(name, awaited, n=1)
    if near:
        logger.warning(
            "signal %r is kept until run %s waits for it. So far the run has not; now it waits "
            "for %r: did you mean that one?",
            name,
            run_id,
            near[0],
            extra={"action": "signal", "run_id": str(run_id)},
        )


def _check(name: str, wanted: Any, data: Any) -> None:
    """Refuse a message that does not fit the program's wait."""
    stated = wanted.get("schema")
    schema = stated.get("$literal") if isinstance(stated, dict) else None
    if schema is None:
        return
    # Only senders need to import it.
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return  # the schema in the row is damaged, which is not the message's fault
    errors = sorted(Draft202012Validator(schema).iter_errors(data), key=lambda one: one.json_path)
    if errors:
        listed = "".join(f"\n  {one.json_path}: {one.message}" for one in errors[:_LISTED])
        raise InvalidInput(
            f"the signal {name!r} does not match the type that the program waits for:{listed}",
            hint="nothing was sent; the program is still waiting",
        )
