"""All errors that flowq raises on purpose, as one tree.

The type says who has to act:

    FlowqError
    ├── InvalidFlow            the definition is wrong        (author; refused at submit)
    │   └── IncompleteStep     PromptNotFound     InvalidPrompt      (refused at import)
    ├── InvalidInput           a run input is wrong           (caller; refused at submit)
    ├── InvalidSetting         a setting is wrong             (operator; refused before anything)
    ├── FlowNotFound           no flow of that name, or no such file   (caller)
    ├── RunNotFound            no run of that id              (caller)
    ├── ScheduleNotFound       no schedule of that name       (caller)
    ├── RunUnreadable          its rows cannot be read: it is failed or paused   (operator)
    ├── StepError              an attempt of a step ends here
    │   ├── InvalidOutput      does not match its annotation   (final: a retry gives the same)
    │   ├── NotSerializable    no codec can store it          (final)
    │   ├── BudgetExceeded     its budget is spent            (final)
    │   ├── StepTimeout        took longer than allowed       (retried)
    │   ├── RetryRequested     its code asks for another attempt   (retried after its delay)
    │   ├── TaskRevoked        an operator revoked its Celery task  (final)
    │   ├── ModelUnavailable   429, 5xx, no connection        (retried, not before its retry_after)
    │   ├── ModelRefused       no key, or any other 4xx       (final)
    │   ├── FetchFailed        a URL does not answer, or sends an invalid answer  (retried)
    │   ├── FetchRefused       a URL that workers may not fetch            (final)
    │   ├── InvalidAnswer      a model's answer fits no schema, corrections included  (final)
    │   ├── LeaseLost          another worker holds the attempt (changes nothing)
    │   ├── WouldBlock         code in a worker waits for a run      (final)
    │   └── NondeterminismError  a program differs from its record (final; correct the code)
    ├── StepFailed             a step that a program awaited failed (the program may continue)
    ├── SignalTimeout          a signal did not arrive in time  (also a TimeoutError)
    ├── SignalRefused          the run can never receive the signal   (sender)
    ├── ResultMissing / ResultCorrupt                         the stored value is gone or differs
    ├── RunFailed / RunCancelled / ResultTimeout              what `Run.result()` raises
    └── Unavailable            a service that flowq needs cannot be used now (operator)
        ├── BrokerUnavailable   RedisUnavailable   DatabaseUnavailable   StoreUnavailable
        ├── WorkerOutdated     the code of this worker is older than that of the client
        ├── DatabaseRefused    it refused a statement of flowq (most likely a bug)
        └── DatabaseNotMigrated   DatabaseTooNew   StoreAfterFork

Each has a `hint`: the next thing to type or change. `StepCancelled` is not part of the tree: it
ends the code of a step and is not an `Exception`.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from flowq.core.text.escaping import escaped

__all__ = [
    "BrokerUnavailable",
    "BudgetExceeded",
    "DatabaseNotMigrated",
    "DatabaseRefused",
    "DatabaseTooNew",
    "DatabaseUnavailable",
    "FetchFailed",
    "FetchRefused",
    "FlowNotFound",
    "FlowqError",
    "IncompleteStep",
    "InvalidAnswer",
    "InvalidFlow",
    "InvalidInput",
    "InvalidOutput",
    "InvalidPrompt",
    "InvalidSetting",
    "LeaseLost",
    "ModelRefused",
    "ModelUnavailable",
    "NondeterminismError",
    "NotSerializable",
    "PromptNotFound",
    "RedisUnavailable",
    "ResultCorrupt",
    "ResultMissing",
    "ResultTimeout",
    "RetryRequested",
    "RunCancelled",
    "RunFailed",
    "RunNotFound",
    "RunUnreadable",
    "ScheduleNotFound",
    "SignalRefused",
    "SignalTimeout",
    "StepCancelled",
    "StepError",
    "StepFailed",
    "StepTimeout",
    "StoreAfterFork",
    "StoreUnavailable",
    "TaskRevoked",
    "Unavailable",
    "WorkerOutdated",
    "WouldBlock",
]


class FlowqError(Exception):
    """Base of all flowq errors.

    Args:
        message: What failed and why.
        hint: What to do next, as a command or a change; printed on its own line.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        # Shown in terminals and logs, and it may contain text from outside.
        text = f"{self.message}\n  → {self.hint}" if self.hint else self.message
        return escaped(text, lines=True)


class InvalidFlow(FlowqError):
    """The definition of a flow cannot run: a cycle, an unknown name, a wrong call of a step."""


class IncompleteStep(InvalidFlow, NotImplementedError):
    """A step class lacks what its kind needs, for example `Inputs` or `Outputs`."""


class PromptNotFound(InvalidFlow, FileNotFoundError):
    """The prompt file of a step does not exist."""


class InvalidPrompt(InvalidFlow, ValueError):
    """The prompt of a step is not a template, or uses a variable that its `Inputs` lacks."""


class InvalidInput(FlowqError):
    """An input of a run is missing, unknown, too large or of the wrong type."""


class InvalidSetting(FlowqError, ValueError):
    """A setting of flowq, or of its Celery app, cannot be used. Nothing was recorded."""


class FlowNotFound(FlowqError):
    """No flow of that name is registered, or the file or module holds none."""


class RunNotFound(FlowqError):
    """No run of that id is recorded."""

    @classmethod
    def of(cls, run_id: UUID) -> "RunNotFound":
        """Return the error for a whole id that no row has."""
        return cls(f"there is no run {run_id}", hint="flowq runs ls")


class ScheduleNotFound(FlowqError):
    """No schedule of that name is recorded."""


class RunUnreadable(FlowqError):
    """The rows of a run cannot be read; the run is failed, or paused, with this reason.

    Attributes:
        newer: Whether a newer flowq seems to have written it.
        run_id: The run, where that is known.
    """

    def __init__(self, message: str, *, hint: str | None = None, newer: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.newer = newer
        self.run_id: Any = None


class StepError(FlowqError):
    """An attempt of a step ends with this.

    A step that raises it itself fails without a retry. Your own subclasses of it are retried.

    Attributes:
        details: JSON data that is kept in the metadata of the step's row, beside the traceback.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, details: dict[str, object] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.details = details or {}


class InvalidOutput(StepError):
    """A step returned a value that does not match its annotation. Never retried."""


class NotSerializable(StepError):
    """No codec can store the value. Never retried."""


class BudgetExceeded(StepError):
    """A step tried to call a model after its budget was spent. Never retried."""


class StepTimeout(StepError):
    """An attempt took longer than the step's timeout."""


class RetryRequested(StepError):
    """The code of a step asks for another attempt, at a time that it says.

    The retry policy of the step says how many there may be, and not after which errors. The cause
    of this error, if it has one, is recorded as the error of the attempt.

    Attributes:
        delay: The time before the next attempt.
    """

    def __init__(self, message: str, delay: timedelta, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.delay = delay


class TaskRevoked(StepError):
    """The Celery task of a step was revoked, or its message has expired. Never retried."""


class ModelUnavailable(StepError):
    """A model is not available now: too many requests, a server error, no connection.

    Attributes:
        retry_after: The delay that its provider asks for, if it does.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ModelRefused(StepError):
    """A provider will not answer this call, now or later: no key, no such model. Never retried."""


class InvalidAnswer(StepError):
    """A model's last answer does not fit the step's schema, after its corrections. Never retried.

    `details["last_answer"]` has the answer, shortened if it is long.
    """


class FetchFailed(StepError):
    """A URL could not be fetched: no connection, an error of its server, too much, too slow."""


class FetchRefused(StepError):
    """Workers must not fetch this URL, see FLOWQ_FETCH_HOSTS. Never retried."""


class LeaseLost(StepError):
    """The attempt's lease is gone: another worker has the step, or it was cancelled."""


class WouldBlock(StepError, RuntimeError):
    """Code in a worker would block on a run that is not finished. Never retried."""


class NondeterminismError(StepError):
    """The code of a program does not match the record of its run."""


class StepFailed(FlowqError):
    """A step or a child run that a program awaited failed, and is not retried any more.

    Args:
        message: The whole text.
        step: Key of the call.
        error: Name of the exception's class, as the step raised it.
        reason: Its text.
        attempts: How many attempts were made.
        details: The `details` of the step's own error, if it was a `StepError`.
        hint: What to do next.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        error: str = "StepError",
        reason: str = "",
        attempts: int = 1,
        details: Mapping[str, object] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.error = error
        self.reason = reason
        self.attempts = attempts
        self.details = details or {}


class SignalTimeout(FlowqError, TimeoutError):
    """The signal that a program waited for did not arrive in time."""


class SignalRefused(FlowqError):
    """The run is finished, or belongs to a flow that takes no signals."""


class StepCancelled(BaseException):
    """Ends the code of a step whose run was cancelled.

    Like `asyncio.CancelledError` it is not an `Exception`, so that `except Exception` does not
    catch it.
    """


class ResultMissing(FlowqError):
    """A result is recorded, but its object is missing in the store."""


class ResultCorrupt(FlowqError):
    """A stored result does not match the digest that was recorded with it."""


class RunFailed(FlowqError):
    """The run failed."""


class RunCancelled(FlowqError):
    """The run was cancelled."""


class ResultTimeout(FlowqError):
    """The run did not end within the caller's timeout; it is still active."""


class Unavailable(FlowqError):
    """A service that flowq needs is not available."""


class BrokerUnavailable(Unavailable):
    """The broker of messages, a Redis or RabbitMQ, does not answer or refuses."""


class RedisUnavailable(Unavailable):
    """The Redis of small results and events does not answer."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class DatabaseRefused(Unavailable):
    """The database refused a statement of flowq; waiting does not help.

    This is not a failure of the step whose row was written; the step is tried again.
    """


class DatabaseNotMigrated(Unavailable):
    """The database has no flowq tables, or older ones than this code needs."""


class DatabaseTooNew(Unavailable):
    """The database was migrated by a newer flowq than this one."""


class WorkerOutdated(Unavailable):
    """This worker has older code than the client of the run; another worker may run the step."""


class StoreUnavailable(Unavailable):
    """The object store does not answer or refuses."""


class StoreAfterFork(StoreUnavailable):
    """The object store was opened before this process was forked; using it here would hang."""
