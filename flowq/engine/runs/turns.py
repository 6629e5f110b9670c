"""Whether a run begins at once, or is recorded as pending.

A run is pending if it is given a time, if its flow is a singleton, or if its flow is debounced. A
child run is never debounced, since its parent waits for it. A continuation goes on at once, with
the rules of the run that it continues.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flowq.core.errors import InvalidInput
from flowq.core.ids import StepRunId
from flowq.core.spec import FlowSpec
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Definition, NewRun
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.options import Submission
from flowq.engine.runs.superseding import refuse_own_ancestor


def with_rules(
    engine: Engine,
    flow: RegisteredFlow,
    spec: FlowSpec,
    checked: Mapping[str, Any],
    user_id: str | None,
    *,
    parent: StepRunId | None,
    continues: Definition | None,
) -> FlowSpec:
    """Return the spec of a run with the rules of its flow, as they are for this run.

    Args:
        spec: Has the share of the parent, which a child run has too; or, of a rerun, the share of
            the run before it, which it has unless its flow has `fair_by`.
        checked: Its inputs.
        continues: The run as whose continuation it begins.

    Raises:
        InvalidInput: a key is no plain value, or the child run would wait for its own parent.
    """
    if continues is not None:
        rules = continues.spec.queueing
        return spec if rules is None else spec.model_copy(update={"queueing": rules})
    if flow.queueing is None:
        return spec
    queueing = flow.queueing(checked, user_id)
    if spec.share is not None and (parent is not None or queueing.share is None):
        queueing = queueing.model_copy(update={"share": spec.share})
    if parent is not None:
        queueing = queueing.model_copy(update={"debounce": None})
        if queueing.singleton is not None:
            refuse_own_ancestor(engine, flow.name, queueing.singleton_key, parent)
    return spec.model_copy(update={"queueing": queueing})


def pending(run: NewRun, submission: Submission, *, continues: bool) -> NewRun:
    """Return a run that may have to wait before it begins.

    Raises:
        InvalidInput: it is given a time, and its flow is debounced.
    """
    queueing, starts = run.spec.queueing, submission.starts
    if continues:
        return run
    if queueing is not None and queueing.debounce is not None:
        if starts is not None:
            raise InvalidInput(
                f"a run of {run.flow_name!r} is given delay= or at=, but the flow has debounce=",
                hint="leave it out: the run begins when its debounce is over",
            )
        starts = queueing.debounce
    takes_turns = queueing is not None and queueing.singleton is not None
    return replace(run, waits=takes_turns or starts is not None, starts=starts)
