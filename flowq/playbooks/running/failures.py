"""How the failure of a call comes from the worker to the decision what follows it.

The exception of a tool is recorded with its step, as that of any step. What templates ask of it
beside its text (the status and body of an HTTP response) are its details.
"""

from flowq.core.errors import FlowqError, StepError, StepFailed
from flowq.core.results import StepFailure
from flowq.playbooks.control.events import Failure


def failure_of(error: FlowqError | StepFailure) -> Failure:
    """Return what templates see of a failed call.

    Args:
        error: What awaiting the call has raised, or the failure of an item of a map.
    """
    if isinstance(error, StepFailure):
        return Failure(error.message, type=error.error)
    if not isinstance(error, StepFailed | StepError):
        said = f"{error.message}: {error.hint}" if error.hint else error.message
        return Failure(said, type=type(error).__name__)
    details = error.details
    status, traceback = details.get("status"), details.get("traceback_")
    said, kind = error.message, type(error).__name__
    if isinstance(error, StepFailed):
        said, kind = error.reason or said, error.error
    return Failure(
        said,
        type=str(details.get("type") or kind),
        status=status if isinstance(status, int) else None,
        body=details.get("body"),
        traceback=traceback if isinstance(traceback, str) else None,
    )
