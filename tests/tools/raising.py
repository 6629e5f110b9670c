"""Whatever a step may raise, by name: what is no `Exception`, and what is broken."""

import asyncio
from collections.abc import Callable
from typing import Any, Final


class PanicException(BaseException):
    """What a library in Rust (pyo3) raises when it panics."""


class Unprintable(Exception):
    """Neither its text nor its form can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no form")


class Unhashable(Exception):
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Unpicklable(Exception):
    """Cannot be made again from its arguments, and holds what cannot be pickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("unpicklable")
        self.held = lambda: one + two


class Textless(BaseException):
    """Its text is no text."""

    def __str__(self) -> str:
        return 3  # type: ignore[return-value]  # noqa: PLE0307 - what is tested


#: From a name to what makes the error.
ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    "CancelledError": lambda: asyncio.CancelledError("by itself"),
    "GeneratorExit": lambda: GeneratorExit("by itself"),
    "SystemExit": lambda: SystemExit(3),
    "exit -1": lambda: SystemExit(-1),
    "exit -15": lambda: SystemExit(-15),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("by itself"),
    "PanicException": lambda: PanicException("called `Option::unwrap()` on a `None` value"),
    "BaseException": lambda: BaseException("by itself"),
    "BaseExceptionGroup": lambda: BaseExceptionGroup(
        "both", [PanicException("a"), KeyboardInterrupt("b")]
    ),
    "ExceptionGroup": lambda: ExceptionGroup("both", [ValueError("a"), KeyError("b")]),
    "StopIteration": lambda: StopIteration("by itself"),
    "StopAsyncIteration": lambda: StopAsyncIteration("by itself"),
    "MemoryError": lambda: MemoryError("by itself"),
    "RecursionError": lambda: RecursionError("by itself"),
    "Unprintable": Unprintable,
    "Unhashable": lambda: Unhashable("by itself"),
    "Unpicklable": lambda: Unpicklable(1, 2),
    "Textless": Textless,
    "huge": lambda: ValueError("x" * 5_000_000),
    "surrogate": lambda: ValueError("half \ud800 and \0"),
    "nothing to say": AssertionError,
}


def raised(name: str) -> Any:
    """Raise one."""
    error = ERRORS[name]()
    raise error


def class_of(name: str, *, in_coroutine: bool = False) -> str:
    """The name of the class that is recorded."""
    error = type(ERRORS[name]())
    if in_coroutine and error is StopIteration:
        return "RuntimeError"  # as Python has it
    return error.__qualname__
