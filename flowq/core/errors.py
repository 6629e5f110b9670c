"""Every error flowq raises on purpose, in one tree.

The type says whose move it is:

    FlowqError
    ├── InvalidFlow            the definition is wrong        (author; refused at submit)
    │   └── IncompleteStep     PromptNotFound     InvalidPrompt      (refused at import)
    ├── InvalidInput           a run input is wrong           (caller; refused at submit)
    ├── InvalidSetting         a setting is wrong             (operator; refused before anything)
    ├── FlowNotFound           nothing of that name or file   (caller)
    ├── RunNotFound            no run of that id              (caller)
    ├── RunUnreadable          its rows cannot be read: it is set aside   (operator)
    ├── StepError              an attempt of a step ends here
    │   ├── InvalidOutput      not what its annotation says   (final: a retry gives the same)
    │   ├── NotSerializable    no codec can store it          (final)
    │   ├── BudgetExceeded     what it may spend is spent     (final)
    │   ├── StepTimeout        took longer than allowed       (retried)
    │   ├── TaskRevoked        an operator revoked its Celery task  (final)
    │   ├── ModelUnavailable   429, 5xx, no connection        (retried, not before its retry_after)
    │   ├── ModelRefused       no key, or any other 4xx       (final)
    │   ├── FetchFailed        a URL does not answer, or not as it should  (retried)
    │   ├── FetchRefused       a URL that workers may not fetch            (final)
    │   ├── InvalidAnswer      a model's answer fits no schema, corrections included  (final)
    │   ├── LeaseLost          someone else holds the attempt (changes nothing)
    │   ├── WouldBlock         code in a worker waits for a run      (final)
    │   └── NondeterminismError  a program differs from its record (final; the code is to be mended)
    ├── StepFailed             what a program awaited has failed (the program may go on)
    ├── SignalTimeout          a signal did not come in time  (also a TimeoutError)
    ├── SignalRefused          nobody will ever take the signal   (sender)
    ├── ResultMissing / ResultCorrupt                         the stored value is gone or differs
    ├── RunFailed / RunCancelled / ResultTimeout              what `Run.result()` raises
    ├── InvalidTransition      the table in `states` lacks it (a bug in flowq)
    └── Unavailable            Redis, database or store cannot be used now (operator)
        ├── RedisUnavailable   DatabaseUnavailable   StoreUnavailable
        ├── DatabaseRefused    it said no to a statement of flowq's own (a bug, most likely)
        └── DatabaseNotMigrated   DatabaseTooNew   StoreAfterFork

Each carries a `hint`: the next thing to type or change. Apart from the tree stands `StepCancelled`,
which ends the code of a step and is no `Exception`.
"""

from datetime import timedelta
from typing import Any

from flowq.core.text.visible import visible


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
        # Shown in terminals and logs, and parts of it are others' text.
        text = f"{self.message}\n  → {self.hint}" if self.hint else self.message
        return visible(text, lines=True)


class InvalidFlow(FlowqError):
    """The definition of a flow cannot run: a cycle, an unknown name, a wrong call of a step."""


class IncompleteStep(InvalidFlow, NotImplementedError):
    """A class of a step lacks what its kind needs, say `Inputs` or `Outputs`."""


class PromptNotFound(InvalidFlow, FileNotFoundError):
    """The prompt file of a step is not there."""


class InvalidPrompt(InvalidFlow, ValueError):
    """The prompt of a step is no template, or uses what the step's `Inputs` lack."""


class InvalidInput(FlowqError):
    """An input of a run is missing, unknown, too large or of the wrong type."""


class InvalidSetting(FlowqError, ValueError):
    """A setting of flowq, or of its Celery app, cannot be used. Nothing was recorded."""


class FlowNotFound(FlowqError):
    """No flow of that name is registered, or the file or module holds none."""


class RunNotFound(FlowqError):
    """No run of that id is recorded."""


class RunUnreadable(FlowqError):
    """What is recorded of a run cannot be read; the run is failed, or paused, with this reason.

    Attributes:
        newer: Whether it looks like the work of a newer flowq.
        run_id: The run, where that is known.
    """

    def __init__(self, message: str, *, hint: str | None = None, newer: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.newer = newer
        self.run_id: Any = None


class StepError(FlowqError):
    """An attempt of a step ends with this.

    Attributes:
        details: JSON data that is kept in the metadata of the step's row, beside the traceback.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, details: dict[str, object] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.details = details or {}


class InvalidOutput(StepError):
    """A step returned what its annotation forbids. Never retried."""


class NotSerializable(StepError):
    """A value has no codec: it can not be stored between steps. Never retried."""


class BudgetExceeded(StepError):
    """A step wants to call a model, and what may be spent is spent. Never retried."""


class StepTimeout(StepError):
    """An attempt took longer than the step's timeout."""


class TaskRevoked(StepError):
    """The Celery task of a step was revoked, or its message has expired. Never retried."""


class ModelUnavailable(StepError):
    """A model cannot be asked now: too many requests, an error of its server, no connection.

    Attributes:
        retry_after: What its provider asks for before the next attempt, if it does.
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

    What it has answered is kept in `details["last_answer"]`, cut off where it is long.
    """


class FetchFailed(StepError):
    """A URL could not be fetched: no connection, an error of its server, too much, too slow."""


class FetchRefused(StepError):
    """A URL may not be fetched from here, see FLOWQ_FETCH_HOSTS. Never retried."""


class LeaseLost(StepError):
    """The attempt's lease is gone: another worker has the step, or it was cancelled."""


class WouldBlock(StepError, RuntimeError):
    """Code that a worker runs waits for a run that has not ended. Never retried."""


class NondeterminismError(StepError):
    """The code of a program does something else than what its run has recorded."""


class StepFailed(FlowqError):
    """A step, or a child run, that a program awaited has failed for good.

    Args:
        message: All of it, for people.
        step: Key of the call.
        error: Name of the exception's class, as the step raised it.
        reason: Its text.
        attempts: How many attempts were made.
        hint: As of every flowq error.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        error: str = "StepError",
        reason: str = "",
        attempts: int = 1,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.error = error
        self.reason = reason
        self.attempts = attempts


class SignalTimeout(FlowqError, TimeoutError):
    """The signal that a program waited for did not come in time."""


class SignalRefused(FlowqError):
    """The run has ended, or is of a flow that takes no signals."""


class StepCancelled(BaseException):
    """Ends the code of a step whose run was cancelled.

    Like `asyncio.CancelledError` no `Exception`: code that catches those to go on must not catch
    this one.
    """


class ResultMissing(FlowqError):
    """A result is recorded, but its object is gone from the store."""


class ResultCorrupt(FlowqError):
    """A stored result does not match the digest that was recorded with it."""


class RunFailed(FlowqError):
    """The run that was waited for has failed."""


class RunCancelled(FlowqError):
    """The run that was waited for was cancelled."""


class ResultTimeout(FlowqError):
    """The run did not end within the time the caller gave it; it goes on."""


class InvalidTransition(FlowqError):
    """A change of state that the table in `flowq.core.states` lacks."""


class Unavailable(FlowqError):
    """Something flowq stands on cannot be used now."""


class RedisUnavailable(Unavailable):
    """Redis does not answer."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class DatabaseRefused(Unavailable):
    """The database has refused a statement of flowq's own; waiting for it is of no use.

    No failure of the step whose row it was to write, though that step has to be tried again.
    """


class DatabaseNotMigrated(Unavailable):
    """The database has no flowq tables, or older ones than this code needs."""


class DatabaseTooNew(Unavailable):
    """The database was migrated by a newer flowq than this one."""


class StoreUnavailable(Unavailable):
    """The object store does not answer or refuses."""


class StoreAfterFork(StoreUnavailable):
    """The object store was used before this process was forked, so it would hang here."""
