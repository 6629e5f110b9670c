"""A Celery task as it runs in an attempt: its own code, with `self.retry` and `self.replace` heard.

The task itself is not changed. A copy of it has `DurableTask` between the user's classes and
Celery's `Task`, so overridden methods run as they do in a worker, up to where Celery would send a
message. There the copy raises what the attempt has to do. Celery's own tracer runs the copy: the
request, signals, `before_start`, `on_failure` and all others are Celery's.
"""

import socket
from functools import cache
from typing import Any, Final, NoReturn

from celery import Celery, Task
from celery.app.autoretry import add_autoretry_behaviour
from celery.app.trace import build_tracer
from celery.canvas import Signature
from celery.exceptions import Ignore, Retry
from celery.states import IGNORED, REJECTED

from flowq.core.errors import StepError

_CHANGED: Final = "_flowq_changed"
#: Arguments of `self.retry` that say when and how often, and not what.
_OF_RETRY: Final = frozenset({"exc", "throw", "eta", "countdown", "max_retries"})


class Replaced(Ignore):
    """The task is replaced by a signature, as `self.replace` says, or retried as another one.

    Attributes:
        signature: What runs instead.
    """

    def __init__(self, signature: Signature) -> None:
        super().__init__("replaced by another signature")
        self.signature = signature


class DurableTask(Task):  # type: ignore[type-arg]  # not generic at run time
    """What a task does instead of sending messages about itself."""

    abstract = True

    def retry(self, *args: Any, **options: Any) -> Any:
        """Raise Celery's `Retry`, and send nothing.

        Raises:
            Retry: always, while retries are left.
            StepError: with `throw=False`, after which the task would go on beside its retry.
        """
        if not options.get("throw", True):
            raise StepError(
                f"{self.name} calls self.retry(throw=False)",
                hint="raise self.retry(…): in a durable canvas an attempt ends where it is retried",
            )
        request = self.request
        # As in an eager call: the retry is raised, and no message is sent.
        request.is_eager = True
        try:
            return super().retry(*args, **options)
        except Retry as retry:
            changes = [*args, *(options[name] for name in options.keys() - _OF_RETRY)]
            setattr(retry, _CHANGED, any(one is not None for one in changes))
            raise
        finally:
            request.is_eager = False

    def on_replace(self, sig: Signature) -> NoReturn:
        """Raise `Replaced`, and send nothing."""
        raise Replaced(sig)

    def add_to_chord(self, *_: Any, **__: Any) -> NoReturn:
        """Raise a `StepError`: the header of a recorded chord does not grow."""
        raise StepError(
            f"{self.name} calls self.add_to_chord, which a durable canvas cannot express",
            hint="return self.replace(group(…)), or a list that the body reads",
        )


class Prepared:
    """A task of an app, ready to run in attempts."""

    def __init__(self, app: Celery, name: str) -> None:
        task = app.tasks[name]
        own: Any = type(task)
        kind = type(own.__name__, (own, DurableTask), {"__module__": own.__module__})
        copy: Any = object.__new__(kind)
        given = dict(vars(task))
        if "_orig_run" in given:  # it is bound to the task itself
            del given["_orig_run"], given["run"]
        vars(copy).update(given)
        add_autoretry_behaviour(copy)
        # The attempt is recorded and logged by flowq; nothing goes to the result backend.
        copy.throws = (Exception,)
        copy.store_errors_even_if_ignored = False
        self.name = name
        self._trace = build_tracer(name, copy, app=app, hostname=socket.gethostname())

    def run(self, args: list[Any], kwargs: dict[str, Any], request: dict[str, Any]) -> Any:
        """Run it once and return its result.

        Raises:
            Replaced: it is replaced.
            Retry: it asks for a retry.
            StepError: it ends in a way that leaves its canvas without a result.
            Exception: what its code raises.
        """
        ended = self._trace(request["id"], args, kwargs, request)
        if ended.info is None:
            return ended.retval
        error: BaseException = ended.info.retval
        if ended.info.state in (IGNORED, REJECTED) and not isinstance(error, Replaced):
            raise StepError(
                f"{self.name} raised {type(error).__name__}: its canvas would never end",
                hint="return a value, or raise an error that is a failure",
            ) from error
        raise error


@cache
def prepared(app: Celery, name: str) -> Prepared:
    """Return a task of an app, prepared once in a process.

    Raises:
        NotRegistered: the app has no such task; a `KeyError`.
    """
    return Prepared(app, name)


def is_changed(retry: Retry) -> bool:
    """Return whether a retry was asked for with other arguments or options."""
    return bool(getattr(retry, _CHANGED, False))
