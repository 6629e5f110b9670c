"""Runs that are requested where the code of their flow is not: a worker that knows it starts them.

Workers record the JSON schema of the inputs of each flow that they know (`record_flows`), so that a
page can ask for them. The request is a row with the id that the run will have. A worker checks the
inputs as for any run, and inserts the run in the transaction that deletes the request: of several
workers one starts it, and a crash before the commit leaves the request as it was. A lost message
costs a pause of the sweeper. A request that no worker has started within a day is forgotten, and
so is a flow that no worker has recorded for a week: it was renamed or removed.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from flowq.core.errors import (
    BrokerUnavailable,
    FlowNotFound,
    FlowqError,
    InvalidFlow,
    InvalidInput,
    Unavailable,
)
from flowq.core.ids import RunId
from flowq.core.names import is_own
from flowq.core.text.json_values import flaw
from flowq.engine.engine import Engine
from flowq.engine.model.actions import ActionKind
from flowq.engine.model.requested import RecordedFlow, RequestedRun, RequestOptions
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.actors import new_action
from flowq.engine.runs.options import Submission, SubmitOptions, plain_of, size_of
from flowq.engine.runs.preparing import prepare
from flowq.engine.runs.submission import begin
from flowq.engine.runs.tracing import spanned

logger = logging.getLogger(__name__)

#: Characters of an error that are kept.
_MAX_TEXT: Final = 4_000

#: Seconds after which a process looks again whether its flows are recorded; records last a week.
_RENEWED_AFTER: Final = 43_200.0


@dataclass
class _Recorded:
    """The flows that an engine has recorded, since when by the process's clock in seconds."""

    flows: dict[str, RegisteredFlow] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)


_recorded: WeakKeyDictionary[Engine, _Recorded] = WeakKeyDictionary()


class _Taken(Exception):
    """The run is started by another worker, or is not wanted any more: roll back."""


def record_flows(engine: Engine) -> int:
    """Record the flows that this process knows and has not recorded yet; called by the sweeper.

    Flows of flowq itself need documents, and are started by their own faces. One whose inputs
    cannot be described is left out, with a warning; it does not stop the others.

    Returns:
        How many rows were inserted or changed.
    """
    recorded = _recorded.get(engine)
    if recorded is None or time.monotonic() - recorded.since >= _RENEWED_AFTER:
        recorded = _recorded[engine] = _Recorded()
    done = recorded.flows
    flows = {
        name: flow
        for name, flow in list(engine.registry.flows.items())
        if done.get(name) is not flow and not is_own(name)
    }
    if not flows:
        return 0
    known = engine.records.autocommit(lambda tx: tx.requested.fresh(sorted(flows)))
    described = [_recorded_flow(flow) for flow in flows.values()]
    changed = [one for one in described if one is not None and known.get(one.name) != one]
    if changed:
        engine.records.transaction(partial(_record, flows=changed))
    done.update(flows)
    return len(changed)


def _record(tx: Transaction, *, flows: Sequence[RecordedFlow]) -> None:
    for flow in flows:
        tx.requested.record(flow)


def recorded_flow(engine: Engine, name: str) -> RecordedFlow:
    """Return a flow as a worker has recorded it.

    Raises:
        FlowNotFound: no worker has.
    """
    found = engine.records.autocommit(lambda tx: tx.requested.flow(name))
    if found is None:
        raise FlowNotFound(
            f"no worker has recorded the flow {name!r}",
            hint="start a worker with the module that defines it",
        )
    return found


def request_run(
    engine: Engine, name: str, inputs: Mapping[str, Any], options: RequestOptions
) -> RunId:
    """Ask a worker to start a run.

    Args:
        engine: Where it is recorded.
        name: A flow that a worker has recorded.
        inputs: Its inputs, as JSON data. They are checked here if this process knows the flow.
        options: What else the run is given.

    Returns:
        The id that the run will have.

    Raises:
        FlowNotFound: no worker has recorded the flow.
        InvalidInput: an input or an option is not allowed.
        DatabaseUnavailable: it could not be recorded.
    """
    if is_own(name):
        raise FlowNotFound(
            f"{name!r} is a program of flowq that runs documents",
            hint="start the document by the commands and routes of its kind",
        )
    recorded_flow(engine, name)
    limit = engine.policies.input_limit_bytes
    Submission.of(_submit_options(options), limit)
    what = f"the inputs of {name!r}"
    data = plain_of(inputs, what)
    size_of(data, what, limit)
    known = engine.registry.flows.get(name)
    if known is not None:
        _validate(known, data)
    run_id = RunId(engine.new_id())
    actor = new_action(engine, run_id, ActionKind.START).actor
    wanted = RequestedRun(run_id, name, data, options, actor)
    check_after = engine.policies.resend_after
    engine.records.transaction(lambda tx: tx.requested.insert(wanted, check_after))
    try:
        engine.dispatcher.send_requested([(str(run_id), name)])
    except BrokerUnavailable as error:
        logger.warning("run %s is left to the sweeper: %s", run_id, error)
    return run_id


def _validate(flow: RegisteredFlow, data: Mapping[str, Any]) -> None:
    try:
        flow.validate(data)
    except FlowqError:
        raise
    except Exception as error:
        raise InvalidInput(f"flow {flow.name!r} refuses these inputs: {error!r}") from error


def withdraw(engine: Engine, run_id: RunId) -> bool:
    """Delete a request; return whether it was there, so that the run will never start."""
    return engine.records.transaction(lambda tx: tx.requested.delete(run_id))


def start_requested(engine: Engine, run_id: RunId) -> bool:
    """Start a requested run.

    Args:
        engine: The engine of a process that runs steps.
        run_id: The request; nothing is done if there is none any more.

    Returns:
        Whether the run was started.

    Raises:
        Unavailable: the database cannot be used now; the sweeper asks again.
    """
    wanted = engine.records.autocommit(lambda tx: tx.requested.find(run_id))
    if wanted is None or wanted.problem is not None:
        return False
    extra = {"action": "start", "run_id": str(run_id)}
    flow = engine.registry.flows.get(wanted.flow_name)
    if flow is None or is_own(flow.name):
        logger.warning(
            "run %s is left to another worker: this one does not know the flow %s",
            run_id,
            wanted.flow_name,
            extra=extra,
        )
        return False
    try:
        _submit(engine, flow, wanted)
    except _Taken:
        return False
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - also what the flow's own function raises
        text = error.message if isinstance(error, FlowqError) else repr(error)
        engine.records.transaction(lambda tx: tx.requested.refuse(run_id, text[:_MAX_TEXT]))
        # The text may have inputs, which are shown to those who may see contents, and not logged.
        kind = type(error).__name__
        logger.warning("run %s cannot be started: %s", run_id, kind, extra=extra)
        return False
    return True


@spanned
def _submit(engine: Engine, flow: RegisteredFlow, wanted: RequestedRun) -> None:
    """Start the run and delete its request, in one transaction."""
    made = new_action(engine, wanted.id, ActionKind.START)
    action = type(made)(made.id, wanted.id, made.kind, wanted.actor)

    def take(tx: Transaction) -> None:
        if not tx.requested.delete(wanted.id):
            raise _Taken

    def record(tx: Transaction, inserted: set[RunId]) -> None:
        if wanted.id not in inserted:
            raise InvalidInput(
                "another run is in its place: the flow allows one run at a time of its key"
            )
        tx.actions.insert(action)

    submission = Submission.of(_submit_options(wanted.options), engine.policies.input_limit_bytes)
    start = prepare(engine, flow, wanted.inputs, submission, run_id=wanted.id)
    begin(engine, [start], before=take, after=record)


def _submit_options(options: RequestOptions) -> SubmitOptions:
    return SubmitOptions(user_id=options.user_id, priority=options.priority, delay=options.delay)


def _recorded_flow(flow: RegisteredFlow) -> RecordedFlow | None:
    try:
        return RecordedFlow(flow.name, _input_schema(flow))
    except Exception as error:  # noqa: BLE001 - annotations are the user's code
        text = error.message if isinstance(error, FlowqError) else repr(error)
        extra = {"action": "record_flow", "flow": flow.name}
        logger.warning("pages cannot start the flow %s: %s", flow.name, text, extra=extra)
        return None


def _input_schema(flow: RegisteredFlow) -> Any:
    schema = flow.inputs_described
    if found := flaw(schema):
        place, why = found
        raise InvalidFlow(f"the schema of its inputs {why}: {'.'.join(map(str, place))}")
    return schema
