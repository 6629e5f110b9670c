"""Returns the result of an equal execution of the same user, instead of executing again."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from pydantic_core import to_jsonable_python

from flowq.authoring.calls.tracing import active
from flowq.authoring.definitions.steps import step
from flowq.core.errors import InvalidFlow
from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.middleware.caches import MAX_BYTES, CacheBackend, default_cache
from flowq.pipeline.protocols import Next
from flowq.pipeline.result import ExecutionResult
from flowq.pipeline.specs import object_of, spec_of

logger = logging.getLogger(__name__)

#: What the key has of a context beside its state.
_SETTINGS = ("provider", "model", "temperature")


@dataclass(frozen=True)
class CachingMiddleware:
    """Keeps results that have not failed.

    Attributes:
        backend: Where; None: the Redis of this installation, or memory where there is none.
        ttl_seconds: How long.
        enabled: False passes everything on.
    """

    backend: CacheBackend | None = None
    ttl_seconds: float = 3600
    enabled: bool = True

    def __post_init__(self) -> None:
        ttl: Any = self.ttl_seconds
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl < 1e9:
            raise InvalidFlow(f"ttl_seconds is {ttl!r}", hint="give a positive number of seconds")

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next
    ) -> ExecutionResult:
        """Return a kept result, or execute and keep."""
        if not self.enabled:
            return await call_next(workflow, context)
        key = key_of(workflow, context)
        found = await self._recall(key)
        if found is not None:
            hit = ExecutionResult.from_dict(found)
            return replace(hit, metadata={**hit.metadata, "cache": "hit"})
        result = await call_next(workflow, context)
        if result.status != "failed":
            await self._keep(key, result)
        return result

    async def _recall(self, key: str) -> Mapping[str, Any] | None:
        if active() is None:
            return await (self.backend or default_cache()).get(key)
        awaitable: Any = recall(self._spec(), key)
        found: Mapping[str, Any] | None = await awaitable
        return found

    async def _keep(self, key: str, result: ExecutionResult) -> None:
        value = result.to_dict()
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            logger.debug("a result is not cached, since it is no JSON: %s", error)
            return
        if len(text.encode(errors="replace")) > MAX_BYTES:
            logger.debug("a result of %d bytes is not cached", len(text))
        elif active() is None:
            await (self.backend or default_cache()).set(key, value, self.ttl_seconds)
        else:
            awaitable: Any = keep(self._spec(), key, value, self.ttl_seconds)
            await awaitable

    def _spec(self) -> Any:
        return None if self.backend is None else spec_of(self.backend, "the cache")


def key_of(workflow: Any, context: ExecutionContext) -> str:
    """Return the key of an execution: that of another one that has the same result."""
    nodes = getattr(getattr(workflow, "plan", workflow), "nodes", None)
    named = [str(getattr(one, "name", one)) for one in nodes] if nodes else []
    parts = {
        "workflow_type": type(workflow).__name__,
        "workflow_id": context.workflow_id,
        "nodes": sha256(json.dumps(named).encode()).hexdigest(),
        "state": context.initial_state,
        "variables": context.variables,
        "user_id": context.user_id,
        **{name: context.named(name) for name in _SETTINGS},
    }
    plain = to_jsonable_python(parts, fallback=str)
    return sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@step(name="flowq.pipeline.recall")
async def recall(cache: dict[str, Any] | None, key: str) -> dict[str, Any] | None:
    """Return what a cache has, recorded for replays.

    Args:
        cache: Its spec; None: the cache of this installation.
        key: The key.
    """
    backend: CacheBackend = default_cache() if cache is None else object_of(cache)
    found = await backend.get(key)
    return None if found is None else dict(found)


@step(name="flowq.pipeline.keep")
async def keep(
    cache: dict[str, Any] | None, key: str, value: dict[str, Any], seconds: float
) -> None:
    """Keep a result; arguments as of `recall`."""
    backend: CacheBackend = default_cache() if cache is None else object_of(cache)
    await backend.set(key, value, seconds)
