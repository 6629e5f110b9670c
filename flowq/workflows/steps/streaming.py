"""Generators as steps: each item goes to the readers of the run at once, the value is their list.

The items are lines of JSON in a stream of `application/x-ndjson`. Outside of a run there is no
reader, and the call returns the list.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from types import GenericAlias
from typing import Any, Final, get_args

from pydantic_core import to_json

from flowq.engine.runtime.context import current_or_none
from flowq.engine.runtime.text_stream import TextStream

_NDJSON: Final = "application/x-ndjson"


def streamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs a generator to its end, streams its items and returns them."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> list[Any]:
        return list(_each(function(*args, **kwargs)))

    @functools.wraps(function)
    async def run_async(*args: Any, **kwargs: Any) -> list[Any]:
        found = []
        with _stream() as stream:
            items: AsyncIterator[Any] = function(*args, **kwargs)
            async for item in items:
                _write(stream, item)
                found.append(item)
        return found

    made = run_async if inspect.isasyncgenfunction(inspect.unwrap(function)) else run
    notes = dict(getattr(function, "__annotations__", {}))
    item_types = get_args(notes.pop("return", None))
    # An annotation that is text is left out: the items are stored by their own types.
    if item_types:
        notes["return"] = GenericAlias(list, (item_types[0],))
    made.__annotations__ = notes
    return made


def _each(items: Iterator[Any]) -> Iterator[Any]:
    with _stream() as stream:
        for item in items:
            _write(stream, item)
            yield item


def _stream() -> Any:
    context = current_or_none()
    return nullcontext() if context is None else context.stream.open(_NDJSON)


def _write(stream: TextStream | None, item: Any) -> None:
    if stream is not None:
        line = to_json(item, inf_nan_mode="strings", serialize_unknown=True)
        stream.write(f"{line.decode()}\n")
