"""The `cache=` of a step: which results it may reuse, and for how long.

@step(cache=3600)                                  for an hour, in the same flow
@step(cache=timedelta(days=30))
@step(cache=Cache(ttl=timedelta(days=7), shared=True, version=2))
@step(cache=Cache(key=lambda url, **_: url))       by the URL alone
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from flowq.authoring.calls.options import Duration, duration
from flowq.authoring.calls.tracing import caller
from flowq.core.errors import InvalidFlow
from flowq.core.graph import MAX_NAME_LENGTH
from flowq.core.spec import CacheSpec

_A_DAY: Final = timedelta(days=1)
_MAX_TTL: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Cache:
    """How the results of a step are reused for later calls with the same inputs.

    Attributes:
        ttl: For how long, as a timedelta or in seconds.
        key: From the step's arguments, by name, to the value that identifies a call, as JSON data;
            by default all inputs. If it returns None, this call is not cached.
        version: Change it when the step's code gives other results.
        shared: Whether flows reuse each other's results.
    """

    ttl: Duration = _A_DAY
    key: Callable[..., Any] | None = None
    version: str | int = 1
    shared: bool = False


#: The values of `cache=`; True is `Cache()`.
CacheOption = Cache | Duration | bool | None


def cache_of(value: CacheOption) -> tuple[CacheSpec | None, Callable[..., Any] | None]:
    """Return the cache's spec, and the key function.

    Raises:
        InvalidFlow: a value is invalid.
    """
    if value is None or value is False:
        return None, None
    cache = value if isinstance(value, Cache) else Cache() if value is True else Cache(ttl=value)
    ttl = duration(cache.ttl, "the ttl of cache")
    if not timedelta(0) < ttl <= _MAX_TTL:
        raise InvalidFlow(
            f"cache keeps results for {ttl} ({caller()})",
            hint="give a time of up to ten years, or leave cache out",
        )
    version = str(cache.version)
    if not version or len(version) > MAX_NAME_LENGTH:
        raise InvalidFlow(f"the version of cache is {cache.version!r} ({caller()})")
    if cache.key is not None and not callable(cache.key):
        raise InvalidFlow(
            f"the key of cache is {cache.key!r} ({caller()})",
            hint="give a function that takes the step's arguments",
        )
    return CacheSpec(ttl=ttl, version=version, shared=bool(cache.shared)), cache.key
