"""The `concurrency=` and `rate=` of a step.

    @step(concurrency=5)                                         five of this step at once
    @step(concurrency=Concurrency(1, key="customer {customer}"))  one for each customer
    @step(rate="60/minute")                                      sixty starts in any minute
    @step(rate=[Rate(500, per=60, key="openai"), Rate(10, key="openai {model}")])
    rate = "90000 tokens/minute"                                 of a step that calls models

Limits with the same key are one limit, across steps and flows.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from flowq.authoring.calls.options import Duration, duration
from flowq.authoring.calls.tracing import caller
from flowq.core.errors import InvalidFlow
from flowq.core.limits.slots import (
    MAX_PERIOD,
    MAX_SLOTS,
    MAX_TOKENS,
    LimitSpec,
    names_in,
    parse_rate,
)

_MAX_KEY_LENGTH: Final = 1000


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many attempts of a key may run at once, over all workers.

    Attributes:
        limit: The number of attempts.
        key: What is limited together; `{name}` is replaced by an argument of the step. Without it,
            all attempts of the step.
    """

    limit: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """How many attempts of a key may begin, or how many tokens they may use, within a time.

    Attributes:
        limit: The number of starts, or of tokens.
        per: The length of any window in which the limit holds, as a timedelta or in seconds.
        key: As for `Concurrency`.
        of: What is counted: `starts`, or the `tokens` of model calls.
    """

    limit: int
    per: Duration = timedelta(minutes=1)
    key: str | None = None
    of: Literal["starts", "tokens"] = "starts"


#: The values of `concurrency=`.
ConcurrencyOption = Concurrency | int | None
#: The values of `rate=`.
RateOption = Rate | str | Sequence[Rate | str] | None


def concurrency_of(
    value: ConcurrencyOption, name: str, names: Collection[str]
) -> tuple[LimitSpec, ...]:
    """Return the spec of `concurrency=`.

    Args:
        value: The given value.
        name: The step's name, the default of the key.
        names: The names that a key may contain, mostly parameters.

    Raises:
        InvalidFlow: a value is invalid.
    """
    if value is None:
        return ()
    given = value if isinstance(value, Concurrency) else Concurrency(value)
    return (_spec("concurrency", given, None, name, names),)


def rates_of(value: RateOption, name: str, names: Collection[str]) -> tuple[LimitSpec, ...]:
    """Return the specs of `rate=`; as `concurrency_of`."""
    if value is None:
        return ()
    many = [value] if isinstance(value, Rate | str) or not isinstance(value, Sequence) else value
    specs = []
    for one in many:
        given = _parsed(one)
        per = duration(given.per, "the time of rate")
        if not timedelta(0) < per <= MAX_PERIOD:
            raise InvalidFlow(
                f"rate is per {per} ({caller()})", hint="give a time of up to 31 days, e.g. per=60"
            )
        specs.append(_spec("rate", given, per, name, names))
    return tuple(specs)


def _parsed(value: Any) -> Rate:
    if isinstance(value, Rate):
        return value
    try:
        limit, per, tokens = parse_rate(value)
    except (TypeError, ValueError) as error:
        raise InvalidFlow(
            f"rate is {value!r} ({caller()})",
            hint='write rate="60/minute" or "90000 tokens/minute", or give a Rate(60)',
        ) from error
    return Rate(limit, per, of="tokens" if tokens else "starts")


def _spec(
    what: str, given: Concurrency | Rate, per: timedelta | None, name: str, names: Collection[str]
) -> LimitSpec:
    limit: Any = given.limit
    key: Any = given.key
    tokens = isinstance(given, Rate) and _counts_tokens(given)
    most = MAX_TOKENS if tokens else MAX_SLOTS
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= most:
        raise InvalidFlow(
            f"{what} is limited to {limit!r} ({caller()})",
            hint=f"give a whole number from 1 to {most:,}, or leave {what} out for no limit",
        )
    if key is None:
        own = name.replace("{", "{{").replace("}", "}}")
        return LimitSpec(key=own, slots=limit, per=per, tokens=tokens)
    wrong = _wrong_key(key, names)
    if wrong:
        raise InvalidFlow(
            f"the key of {what} is {key!r}: {wrong} ({caller()})",
            hint='name parameters of the step in braces: key="customer {customer}"',
        )
    return LimitSpec(key=key, slots=limit, per=per, tokens=tokens)


def _counts_tokens(given: Rate) -> bool:
    if given.of not in ("starts", "tokens"):
        raise InvalidFlow(
            f"rate is of {given.of!r} ({caller()})", hint='write of="starts" or of="tokens"'
        )
    return given.of == "tokens"


def _wrong_key(key: Any, names: Collection[str]) -> str | None:
    """Return what is wrong with a key, or None."""
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY_LENGTH:
        return f"it is not text of 1 to {_MAX_KEY_LENGTH} characters"
    try:
        unknown = names_in(key) - set(names)
    except ValueError as error:
        return str(error)
    return f"the step has no parameter {min(unknown)!r}" if unknown else None
