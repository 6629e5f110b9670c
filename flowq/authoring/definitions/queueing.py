"""The `singleton=`, `debounce=` and `fair_by=` of a flow.

    @flow(singleton="queue", singleton_by="customer")     one run at a time for each customer
    @flow(singleton="skip")                               one run at a time; others are not recorded
    @flow(debounce=timedelta(minutes=1), debounce_by=lambda inputs: inputs.order.id)
    @flow(fair_by="tenant")                               the steps of each tenant in their turn

A key is the name of an input, a function of the inputs, or `user`: the `user_id` of the run.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from types import SimpleNamespace
from typing import Any, Final, Literal, TypedDict
from uuid import UUID

from flowq.authoring.calls.options import Duration, duration
from flowq.authoring.calls.tracing import caller
from flowq.core.errors import InvalidFlow, InvalidInput
from flowq.core.limits.queueing import QueueingSpec, SingletonMode
from flowq.engine.results.codecs.annotations import shown
from flowq.engine.runs.options import is_storable

#: What a key is made of: the name of an input, `user`, or a function of the inputs.
By = str | Callable[[Any], Any]
#: Longer keys are replaced by a digest.
_MAX_KEY_LENGTH: Final = 120
_USER: Final = "user"
_LONGEST: Final = timedelta(days=3650)


class QueueingOptions(TypedDict, total=False):
    """Options of a flow that say when its runs begin, beside other runs.

    Attributes:
        singleton: At most one run of a key is in flight. Another one waits for it (`queue`, or
            True), is not recorded and the run in flight is returned (`skip`), or cancels it
            (`cancel_running`).
        singleton_by: The key; without it there is one for the flow.
        debounce: A run begins when no other run of its key was enqueued for this long, as a
            timedelta or in seconds; runs that were enqueued before are cancelled.
        debounce_by: The key; without it there is one for the flow.
        fair_by: The share of a run: steps of one share do not delay those of others by more than a
            few. Flows with equal shares share them.
    """

    singleton: Literal["queue", "skip", "cancel_running"] | bool | None
    singleton_by: By | None
    debounce: Duration | None
    debounce_by: By | None
    fair_by: By | None


@dataclass(frozen=True, slots=True)
class Queueing:
    """The rules of a flow; called with the inputs and the user of a run, it resolves them."""

    flow: str
    singleton: SingletonMode | None
    singleton_by: By | None
    debounce: timedelta | None
    debounce_by: By | None
    fair_by: By | None

    def __call__(self, inputs: Mapping[str, Any], user_id: str | None) -> QueueingSpec:
        """Return the rules for one run.

        Raises:
            InvalidInput: a key is no plain value.
            Exception: what the function of a key raises.
        """

        def key(name: str, by: By | None) -> str:
            return "" if by is None else self._key(name, by, inputs, user_id)

        return QueueingSpec(
            singleton=self.singleton,
            singleton_key=key("singleton_by", self.singleton_by),
            debounce=self.debounce,
            debounce_key=key("debounce_by", self.debounce_by),
            share=None if self.fair_by is None else key("fair_by", self.fair_by),
        )

    def _key(self, name: str, by: By, inputs: Mapping[str, Any], user_id: str | None) -> str:
        value = inputs.get(by, user_id) if isinstance(by, str) else by(SimpleNamespace(**inputs))
        if isinstance(value, Enum):
            value = value.value
        if not isinstance(value, str | int | UUID | date | None):
            raise InvalidInput(
                f"{name} of flow {self.flow!r} is {shown(value)} ({type(value).__name__})",
                hint="a key is text, a number, a UUID, a date or None",
            )
        text = "" if value is None else str(value)
        if len(text) > _MAX_KEY_LENGTH or not is_storable(text):
            text = "sha256:" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        return text


def queueing_of(
    flow: str, options: QueueingOptions, inputs: Collection[str] | None
) -> Queueing | None:
    """Return the rules that a flow is given; None if there are none.

    Args:
        flow: Its name.
        options: What was given.
        inputs: The names of its inputs; None if any are allowed.

    Raises:
        InvalidFlow: an option is invalid, or has no meaning without another one.
    """
    for name in options.keys() - QueueingOptions.__annotations__.keys():
        raise TypeError(f"flow() got an unexpected keyword argument {name!r}")
    for what in ("singleton", "debounce"):
        if options.get(f"{what}_by") is not None and not options.get(what):
            raise _wrong(flow, f"has {what}_by=, and no {what}=", f"give {what}= too")
    for name in ("singleton_by", "debounce_by", "fair_by"):
        _check_by(flow, name, options.get(name), inputs)
    rules = Queueing(
        flow,
        _mode(flow, options.get("singleton")),
        options.get("singleton_by"),
        _debounce(options.get("debounce")),
        options.get("debounce_by"),
        options.get("fair_by"),
    )
    return rules if rules.singleton or rules.debounce or rules.fair_by is not None else None


def _check_by(flow: str, name: str, by: Any, inputs: Collection[str] | None) -> None:
    if by is None or callable(by):
        return
    known = [*(inputs or ()), _USER]
    if not isinstance(by, str) or (inputs is not None and by not in known):
        raise _wrong(
            flow, f"has {name}={by!r}", f"one of {', '.join(known)}, or a function of the inputs"
        )


def _mode(flow: str, given: Any) -> SingletonMode | None:
    if given is None or given is False:
        return None
    if given is True:
        return SingletonMode.QUEUE
    try:
        return SingletonMode(given)
    except ValueError:
        known = ", ".join(SingletonMode)
        raise _wrong(flow, f"has singleton={given!r}", f"True, or one of: {known}") from None


def _debounce(given: Any) -> timedelta | None:
    if given is None:
        return None
    span = duration(given, "debounce")
    if not timedelta(0) < span <= _LONGEST:
        raise InvalidFlow(
            f"debounce is {given!r} ({caller()})", hint="a positive time, ten years at most"
        )
    return span


def _wrong(flow: str, problem: str, hint: str) -> InvalidFlow:
    return InvalidFlow(f"flow {flow!r} {problem} ({caller()})", hint=hint)
