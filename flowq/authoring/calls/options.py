"""The options of a node beside its arguments: retries, timeout, conditions, order.

`@step(...)` gives the first set, each `.options(...)` makes a changed copy, and a call reads it.
Times are timedeltas or seconds, and are converted for specs here. Wrong values are refused at the
line that gives them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError

from flowq.authoring.calls.tracing import caller
from flowq.core.errors import InvalidFlow
from flowq.core.limits.slots import LimitSpec
from flowq.core.retries import RetryPolicy
from flowq.core.spec import CacheSpec, Tolerance


class Unset:
    """The type of `UNSET`: an option that was not given, where None has a meaning."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()

ONE_ATTEMPT: Final = RetryPolicy()

#: The longest time for clocks, timeouts and the columns of all databases.
_MAX_DURATION: Final = timedelta(days=36_525)

#: A time, as a timedelta or in seconds.
Duration = timedelta | float
#: An exception class or its name.
ErrorType = type[BaseException] | str


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a node.

    Attributes:
        retry: When a failed attempt is retried.
        timeout: For one attempt.
        queue: Celery queue; None leaves it to `task_routes`.
        shadow: The name by which `task_routes` and events know its Celery task; None: its own.
        cache: The cache; None: it always runs.
        concurrency: How many may run at once.
        rate: How many may begin within a time.
        allow_failure: Whether the run continues when it fails.
        when: A Ref, a Condition or a plain value; false skips the node.
        after: Refs of nodes that come before, without data.
        accept_skipped: Whether it runs although some nodes before it were skipped.
        tolerate: For a map: how many items may fail, `3` or `"5%"`.
        key: The node's key, instead of one made from the function's name.
        lazy: Of a call of a program: the result is loaded when the program asks for it.
        log_prints: Whether printed lines are kept as logged ones are.
        local: Of a call of a program: its own process runs it, without a message.
    """

    retry: RetryPolicy = ONE_ATTEMPT
    timeout: timedelta | None = None
    queue: str | None = None
    shadow: str | None = None
    cache: CacheSpec | None = None
    concurrency: tuple[LimitSpec, ...] = ()
    rate: tuple[LimitSpec, ...] = ()
    allow_failure: bool = False
    when: Any = UNSET
    after: tuple[Any, ...] = ()
    accept_skipped: bool = False
    tolerate: int | str | None = None
    key: str | None = None
    lazy: bool = False
    log_prints: bool = False
    local: bool = False

    def spec_fields(self) -> dict[str, Any]:
        """Return the fields of the node's spec that are the same in any flow.

        Conditions, order, tolerance and keys are not here: they depend on the flow.
        """
        return {
            "retry": self.retry,
            "timeout": self.timeout,
            "queue": self.queue,
            "shadow": self.shadow,
            "cache": self.cache,
            "limits": self.concurrency + self.rate,
            "allow_failure": self.allow_failure,
            "accept_skipped": self.accept_skipped,
            "log_prints": self.log_prints,
        }

    def changed_names(self) -> list[str]:
        """Return the names of the options that differ from their defaults."""
        # By identity: `==` on a Ref in `when` would make a condition.
        return [
            one.name
            for one in fields(self)
            if getattr(self, one.name) is not getattr(_NONE, one.name)
        ]


_NONE: Final = Options()


def changed(options: Options, **given: Any) -> Options:
    """Return a copy with the given options; those that are UNSET stay as they are.

    Raises:
        InvalidFlow: a value is invalid.
    """
    changes = {name: value for name, value in given.items() if value is not UNSET}
    if "timeout" in changes:
        changes["timeout"] = timeout_of(changes["timeout"])
    if "after" in changes:
        changes["after"] = after_of(changes["after"])
    tolerance(changes.get("tolerate"))
    for name in ("allow_failure", "accept_skipped", "lazy", "log_prints", "local"):
        if name in changes and not isinstance(changes[name], bool):
            raise InvalidFlow(
                f"{name} is {changes[name]!r} ({caller()})", hint="give True or False"
            )
    for name in ("key", "queue"):
        text = changes.get(name)
        if text is not None and not (isinstance(text, str) and text):
            raise InvalidFlow(f"{name} is {text!r} ({caller()})", hint="give its name, as text")
    made = replace(options, **changes)
    if made.local and made.queue is not None:
        raise InvalidFlow(
            f"local= is given beside queue={made.queue!r} ({caller()})",
            hint="a local step runs where its program runs; leave out one of them",
        )
    return made


def duration(value: Duration, what: str) -> timedelta:
    """Return a time as a timedelta.

    Raises:
        InvalidFlow: it is negative, no time, or too long for clocks and databases.
    """
    if isinstance(value, bool) or not isinstance(value, timedelta | int | float):
        raise InvalidFlow(
            f"{what} is {value!r} ({caller()})",
            hint="give seconds as a number, or a timedelta",
        )
    try:
        time = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (OverflowError, ValueError) as error:
        raise InvalidFlow(f"{what} is {value!r}: {error} ({caller()})") from error
    if time < timedelta(0):
        raise InvalidFlow(f"{what} is negative: {value!r} ({caller()})")
    if time > _MAX_DURATION:
        raise InvalidFlow(
            f"{what} is longer than 100 years: {value!r} ({caller()})", hint="times are in seconds"
        )
    return time


def timeout_of(value: Duration | None) -> timedelta | None:
    """Return a timeout, None for none.

    Raises:
        InvalidFlow: it is not positive.
    """
    if value is None:
        return None
    time = duration(value, "timeout")
    if not time:
        raise InvalidFlow(f"timeout is 0 ({caller()})", hint="leave it out for no timeout")
    return time


def retry_policy(
    base: RetryPolicy,
    *,
    retry: RetryPolicy | None = None,
    retries: int | None = None,
    retry_delay: Duration | None = None,
    backoff: float | None = None,
    retry_on: ErrorType | Iterable[ErrorType] | None = None,
) -> RetryPolicy:
    """Return `base` with the given changes.

    Args:
        base: The policy so far.
        retry: A whole policy, instead of the other options.
        retries: Attempts after the first.
        retry_delay: Before the second attempt.
        backoff: How many times longer each further delay is.
        retry_on: Exceptions after which the step is retried, with their subclasses.

    Raises:
        InvalidFlow: a value is out of its range, or `retry` is given with others.
    """
    changes: dict[str, Any] = {}
    if retries is not None:
        if isinstance(retries, bool) or not isinstance(retries, int):
            raise InvalidFlow(
                f"retries is {retries!r} ({caller()})", hint="give a whole number, e.g. retries=3"
            )
        changes["max_attempts"] = retries + 1
    if retry_delay is not None:
        changes["initial_delay"] = duration(retry_delay, "retry_delay")
        # A first delay longer than the usual limit is intended.
        changes["max_delay"] = max(base.max_delay, changes["initial_delay"])
    if backoff is not None:
        changes["backoff"] = backoff
    if retry_on is not None:
        errors = (retry_on,) if isinstance(retry_on, str | type) else retry_on
        changes["retry_on"] = _error_names(errors)
    if retry is not None:
        if not isinstance(retry, RetryPolicy):
            raise InvalidFlow(
                f"retry is {retry!r} ({caller()})",
                hint="give a RetryPolicy, or a number of retries: retries=3",
            )
        if changes:
            raise InvalidFlow(
                f"retry= is given beside retries, retry_delay, backoff or retry_on ({caller()})",
                hint="put everything into the RetryPolicy",
            )
        return retry
    try:
        return RetryPolicy.model_validate({**dict(base), **changes})
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        said = "retries" if name == "max_attempts" else name
        raise InvalidFlow(
            f"{said} is out of range: {problem['msg']} ({caller()})",
        ) from error


def after_of(value: Any) -> tuple[Any, ...]:
    """Return the value of `after=`, one or many, as a tuple."""
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)


def tolerance(value: int | str | None) -> Tolerance:
    """Return how many items of a map may fail.

    Raises:
        InvalidFlow: it is neither a number nor a share.
    """
    try:
        return Tolerance.parse(value)
    except ValueError as error:
        raise InvalidFlow(
            f"tolerate is {value!r} ({caller()})",
            hint='write a number of items, tolerate=3, or a share of them, tolerate="5%"',
        ) from error


def _error_names(errors: Any) -> tuple[str, ...]:
    if not isinstance(errors, Iterable):
        errors = (errors,)  # which is not an exception either
    names = tuple(_error_name(error) for error in errors)
    if not names:
        # A policy without a list means all exceptions; an empty list does not.
        raise InvalidFlow(
            f"retry_on is empty ({caller()})",
            hint="leave it out to retry on any exception, or write retries=0 to retry on none",
        )
    return names


def _error_name(error: Any) -> str:
    if isinstance(error, str) and error:
        return error
    if not (isinstance(error, type) and issubclass(error, BaseException)):
        raise InvalidFlow(
            f"retry_on holds {error!r}, which is not an exception ({caller()})",
            hint="give exception classes: retry_on=(ConnectionError, TimeoutError)",
        )
    short = error.__module__ == "builtins"
    return error.__qualname__ if short else f"{error.__module__}.{error.__qualname__}"
