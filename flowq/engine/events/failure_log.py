"""The log line of a step that has failed for good, for people and alerts.

An unexpected failure is an ERROR with its recorded traceback: bounded, without flowq's own frames,
and part of the message, since a formatter's output of an exception has no bound. A failure that the
flow expects, by `allow_failure`, by `tolerate` of a map or by a program that may catch it, is a
WARNING in one line: the run continues. The row has the whole error.
"""

import logging
from typing import Final

from flowq.core.ids import RunId
from flowq.core.spec import StepKind, StepSpec
from flowq.engine.model.rows import Claim, Outcome

logger = logging.getLogger(__name__)

#: Characters of an error's text in a log line; the row has more.
_MAX_LENGTH: Final = 1000


def log_failure(claim: Claim, step: StepSpec, outcome: Outcome, *, called: bool) -> None:
    """Log that a step has failed for good.

    Args:
        outcome: The recorded outcome.
        called: Whether a program has called the step.
    """
    key = claim.key if claim.map_index is None else f"{claim.key}[{claim.map_index}]"
    extra = {"action": "fail", "run_id": str(claim.run_id), "step": key}
    said = (key, claim.run_id, outcome.error_type, _short(outcome.error_message or ""))
    provided = _provided_for(claim, step, called=called)
    if provided is not None:
        words = "%s of run %s has failed, " + provided + ": %s: %s"
        logger.warning(words, *said, extra=extra)
        return
    kept = (outcome.metadata or {}).get("traceback")
    words = "%s of run %s has failed: %s: %s" + ("\n%s" if kept else "")
    logger.error(words, *said, *([str(kept).rstrip()] if kept else []), extra=extra)


def log_failed_map(run_id: RunId, step: StepSpec, reason: str | None, *, called: bool) -> None:
    """Log that a map with tolerance has failed; without tolerance each item was logged.

    Args:
        reason: How many items have failed, and the first of them.
        called: Whether a program has called it.
    """
    if not _tolerates(step):
        return
    extra = {"action": "fail", "run_id": str(run_id), "step": step.key}
    level = logging.WARNING if step.allow_failure or called else logging.ERROR
    logger.log(
        level, "%s of run %s has failed: %s", step.key, run_id, _short(reason or ""), extra=extra
    )


def _short(text: str) -> str:
    """Return a text as a part of one line."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_LENGTH else f"{line[:_MAX_LENGTH]}…"


def _provided_for(claim: Claim, step: StepSpec, *, called: bool) -> str | None:
    """Return why the run continues after the failure; None when it was unexpected."""
    if step.kind is StepKind.PROGRAM:
        return None
    if claim.map_index is not None and _tolerates(step):
        return "within the tolerance of its map"
    if step.allow_failure:
        return "which its flow allows"
    if called:
        return "which its program may catch"
    return None


def _tolerates(step: StepSpec) -> bool:
    return step.map is not None and bool(step.map.tolerance.count or step.map.tolerance.percent)
