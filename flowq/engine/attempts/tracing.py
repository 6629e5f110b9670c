"""The span around an attempt; without tracing the attempt runs as it is."""

from collections.abc import Callable

from flowq.core.errors import FlowqError
from flowq.engine.attempts.outcomes import AttemptEnding, AttemptResult
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Claim
from flowq.engine.ports.tracing import active

_FAILED = (AttemptEnding.FAILED, AttemptEnding.RETRYING, AttemptEnding.LOST)


def traced(
    engine: Engine, claim: Claim, parent: str | None, run: Callable[[], AttemptResult]
) -> AttemptResult:
    """Run a claimed attempt within its span.

    Args:
        parent: The context that its message has; None: that of its run.
    """
    tracing = active(engine.tracing)
    if tracing is None:
        return run()
    try:
        known = engine.definitions.get(claim.run_id)
        step = (claim.spec or known.step(claim.key)).name
    except FlowqError:
        return run()  # its rows cannot be read: the attempt finds out why
    definition = known.definition
    parent = parent or definition.spec.traceparent
    with tracing.attempt(claim, step=step, flow=definition.flow_name, parent=parent) as span:
        result = run()
        span.end(result.ending.value, result.error if result.ending in _FAILED else None)
        return result
