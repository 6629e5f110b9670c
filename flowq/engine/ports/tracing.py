"""Spans for a tracing system: of submitted runs, attempts and calls of models.

A context is the text of the header `traceparent` of W3C Trace Context. It is stored with the run
and sent in message headers, so all spans of a run are in one trace, whichever worker makes them.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final, Protocol

from flowq.core.ids import RunId
from flowq.core.usage import RequestStatus, Tokens
from flowq.engine.model.model_calls import Caller
from flowq.engine.model.rows import Claim

#: The header of a context.
TRACEPARENT: Final = "traceparent"


class AttemptSpan(Protocol):
    """The span of an attempt."""

    def end(self, ending: str, error: BaseException | None) -> None:
        """Note how the attempt has ended, and the error if it has failed."""


class CallSpan(Protocol):
    """The span of a call of a model."""

    def end(self, status: RequestStatus, tokens: Tokens) -> None:
        """End it."""


class Tracing(Protocol):
    """Makes spans."""

    @property
    def is_on(self) -> bool:
        """Whether spans go anywhere; if not, no other method is called."""

    def submission(self, flow_name: str) -> AbstractContextManager[object]:
        """Make the span of the submission of runs, and make it the current one."""

    def current(self) -> str | None:
        """Return the context of the current span; None when there is none."""

    def attempt(
        self, claim: Claim, *, step: str, flow: str, parent: str | None
    ) -> AbstractContextManager[AttemptSpan]:
        """Make the span of an attempt, and make it the current one.

        Args:
            claim: The attempt.
            step: The registered name of what runs.
            flow: The name of the flow.
            parent: Its context; None: a root that all workers derive alike from the run's id.
        """

    def model_call(self, caller: Caller, provider: str, model: str) -> CallSpan:
        """Begin the span of a call of a model, below the current span."""


def active(tracing: Tracing | None) -> Tracing | None:
    """Return what makes spans, if they go anywhere."""
    return tracing if tracing is not None and tracing.is_on else None


def message_headers(tracing: Tracing | None) -> Mapping[str, str]:
    """Return the headers by which messages carry the context of the current span."""
    on = active(tracing)
    context = on.current() if on is not None else None
    return {} if context is None else {TRACEPARENT: context}


def trace_root(run_id: RunId) -> tuple[int, int]:
    """Return the trace and span ids of a run that was submitted without tracing."""
    return run_id.int, run_id.int & ((1 << 64) - 1) or 1
