"""The trace of a flow: the nodes that its function has called so far.

A step can be called in several contexts, and ContextVars say in which:

    a Trace         a `def` flow's function is traced to a graph; a call adds a node
    an Execution    an `async def` flow runs; a call is recorded and awaited
    PLAIN           a `def` flow's function runs as ordinary Python, e.g. in a test
    PLAIN_PROGRAM   an `async def` flow's function does
    None            the step is called outside a flow, as an ordinary function

A thread that a flow's function starts is not part of its trace: the order of calls, and so the keys
of nodes, would differ from run to run.
"""

import inspect
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from itertools import count
from types import CodeType
from typing import Final, TypeVar

from flowq.authoring.calls.refs import Ref
from flowq.core.errors import InvalidFlow
from flowq.core.graph import MAX_NAME_LENGTH
from flowq.core.references import Reference
from flowq.core.spec import StepSpec
from flowq.engine.registry.origins import is_ours, shown_place
from flowq.engine.replay import Execution, current

T = TypeVar("T")


class Plain(Enum):
    """The type of `PLAIN` and `PLAIN_PROGRAM`: a flow runs as ordinary Python."""

    PLAIN = "plain"
    PLAIN_PROGRAM = "plain program"


PLAIN: Final = Plain.PLAIN
PLAIN_PROGRAM: Final = Plain.PLAIN_PROGRAM


class Trace:
    """The nodes of one flow that is being traced."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.steps: list[StepSpec] = []
        self._keys: set[str] = set()
        self._numbers: dict[str, Iterator[int]] = {}

    def new_key(self, label: str, wanted: str | None) -> str:
        """Return an unused key: the wanted one, or `label`, `label-2`, `label-3`.

        Raises:
            InvalidFlow: the wanted key is taken.
        """
        if wanted is not None:
            if wanted in self._keys:
                raise InvalidFlow(
                    f"flow {self.flow!r} has two steps with the key {wanted!r} ({caller()})",
                    hint='give one of them another key: my_step.options(key="…")',
                )
            key = wanted
        elif label not in self._keys:
            key = label
        else:
            # The counter is kept between calls, so that a thousand calls do not become quadratic.
            numbers = self._numbers.setdefault(label, count(2))
            keys = (f"{label[: MAX_NAME_LENGTH - 10]}-{number}" for number in numbers)
            key = next(key for key in keys if key not in self._keys)
        self._keys.add(key)
        return key

    def reference_of(self, _value: object) -> None:
        """Return None: in a trace, Refs replace results."""

    def add(self, step: StepSpec) -> Ref:
        """Add a node with a key from `new_key`, and return the Ref to its result."""
        self.steps.append(step)
        return Ref(self, Reference(step.key))


_active: ContextVar[Trace | Plain | None] = ContextVar("flowq_trace", default=None)


def active() -> Trace | Execution | Plain | None:
    """Return the context here: a trace, a program, a flow as plain Python, or None."""
    mode = _active.get()
    return current() if mode is None else mode


async def as_plain_program(coroutine: Awaitable[T]) -> T:
    """Run the coroutine of an `async def` flow as plain Python."""
    return await _as(PLAIN_PROGRAM, coroutine)


async def as_no_flow(coroutine: Awaitable[T]) -> T:
    """Run the coroutine of a step: its calls are not calls of a flow."""
    return await _as(None, coroutine)


async def _as(mode: Plain | None, coroutine: Awaitable[T]) -> T:
    before = _active.get()
    # Without a token: a discarded coroutine may end in another context than it began.
    _active.set(mode)
    try:
        return await coroutine
    finally:
        _active.set(before)


@contextmanager
def during(mode: Trace | Plain | None) -> Iterator[None]:
    """Make `active` return `mode` within the block."""
    token = _active.set(mode)
    try:
        yield
    finally:
        _active.reset(token)


def caller() -> str:
    """Return `file:line` of the user's calling code, for messages."""
    frame = inspect.currentframe()
    while frame and frame.f_back and is_ours(frame):
        frame = frame.f_back
    assert frame is not None
    return shown_place(frame.f_code.co_filename, frame.f_lineno)


def source(code: CodeType) -> str:
    """Return `file:line` of a function's definition, for messages."""
    return shown_place(code.co_filename, code.co_firstlineno)
