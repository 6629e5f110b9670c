"""Reusing the result of an earlier step with the same inputs.

The cache is read after the step was claimed and its inputs were loaded. The key is a digest of the
step's name, its version and its inputs, or of the value of its key function; and of the flow's name
unless the cache is shared. A hit completes the step with the same result at no cost; its row names
the step that made the result and what that cost. A miss runs the code. Its result is cached just
before the step is recorded as completed, so after a crash in between the next attempt is a hit.

Failures are never cached. Two steps with the same key that run at the same moment may both miss,
and both run.
"""

import json
import logging
from collections.abc import Mapping
from hashlib import sha256
from inspect import BoundArguments
from pathlib import Path
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_jsonable_python

from flowq.core.errors import NotSerializable, Unavailable
from flowq.core.results import StorageKind
from flowq.core.spec import StepSpec
from flowq.engine.engine import Engine
from flowq.engine.model.rows import CacheEntry, Claim, Outcome
from flowq.engine.registry.registry import RegisteredStep
from flowq.engine.results.codecs import encode
from flowq.engine.results.codecs.files import digest
from flowq.engine.results.codecs.read_back import describe_difference, difference_of_form
from flowq.engine.results.store import Stored

logger = logging.getLogger(__name__)

#: To be changed when keys are computed differently.
_FORM: Final = 1


def cache_key(
    step: StepSpec,
    step_type: RegisteredStep,
    flow_name: str,
    inputs: Mapping[str, Any],
    bound: BoundArguments,
) -> str | None:
    """Return the key under which a step's result is cached; None if it is not cached.

    Raises:
        NotSerializable: an input, or the value of the key function, has no form that can be
        compared.
    """
    cache = step.cache
    if cache is None:
        return None
    subject: Any = dict(inputs)
    if step_type.cache_key is not None:
        subject = step_type.cache_key(**by_name(bound))
        if subject is None:
            return None
    parts = {
        "form": _FORM,
        "step": step.name,
        "version": cache.version,
        "flow": None if cache.shared else flow_name,
        "by": "function" if step_type.cache_key is not None else "inputs",
        "of": _plain(subject, f"the cache key of {step.key}"),
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def by_name(bound: BoundArguments) -> Mapping[str, Any]:
    """Return all arguments by name, with the defaults of those that were left out."""
    whole = BoundArguments(bound.signature, dict(bound.arguments))
    whole.apply_defaults()
    return whole.arguments


def _plain(value: Any, where: str) -> Any:
    """Return JSON data for a value; a part without a JSON form becomes the digest of its bytes."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part, where) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, where) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path) and not value.is_file():
        return {"$path": str(value)}
    if not isinstance(value, bytes | bytearray | memoryview | Path):
        try:
            plain = to_jsonable_python(value)
        except PydanticSerializationError:
            pass  # a table, an array: it has bytes of its own
        else:
            return _distinct(value, plain, where)
    encoded = encode(value, where=where)
    data = encoded.data
    found = digest(data)[0] if isinstance(data, Path) else sha256(data).hexdigest()
    return {f"${encoded.codec}": found}


def _distinct(value: Any, plain: Any, where: str) -> Any:
    """Return the JSON data of a value; raise if another value may have the same data.

    For example, all secrets are written as the same stars.
    """
    found = difference_of_form(value, plain)
    if found:
        raise NotSerializable(
            f"{where} does not distinguish values: {describe_difference(found)}",
            hint="build the key from plain data: @step(cache=Cache(key=lambda …: …))",
        )
    return plain


def look_up(engine: Engine, claim: Claim, key: str) -> tuple[CacheEntry, Stored] | None:
    """Return the cached result of a key, as the result of this attempt.

    Raises:
        Unavailable: the database, or the object store, is unavailable.
    """
    found = engine.records.autocommit(lambda tx: tx.cached.find(key))
    if found is None:
        return None
    if found.ref.place is StorageKind.OBJECT:
        if engine.results.stored_size(found.ref) != found.ref.size:
            logger.warning("the cached object %s is gone", found.ref.key, extra={"action": "cache"})
            return None
        return found, Stored(found.ref)
    if found.copy is not None and not engine.results.is_whole(found.ref, found.copy):
        logger.warning("the cached result %s does not match its digest", found.ref.key)
        return None
    return found, engine.results.adopt(found.ref, found.copy, step_id=claim.id, token=claim.token)


def keep(engine: Engine, claim: Claim, key: str, step: StepSpec, outcome: Outcome) -> None:
    """Cache a result for others; if the database is unreachable, they only have a miss."""
    assert step.cache is not None
    ttl = step.cache.ttl
    try:
        engine.records.autocommit(lambda tx: tx.cached.put(key, claim, outcome, ttl))
    except Unavailable as error:
        logger.warning("a result is not cached: %s", error, extra={"action": "cache"})
