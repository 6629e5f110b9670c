"""Calls of steps and flows: what a call does depends on where it is made.

in a `def` flow that is traced      adds a node and returns a Ref             (see `traced`)
in a running `async def` flow       records a call and returns an awaitable  (see `durable`)
in a flow as plain Python           runs the function                        (see `plain`)
anywhere else                       runs the function
"""

from collections.abc import Generator, Mapping
from typing import Any, TypeVar

from flowq.authoring.calls.callee import Callee
from flowq.authoring.calls.durable import program_call, program_map
from flowq.authoring.calls.options import Options
from flowq.authoring.calls.plain import await_call, await_map, run_call, run_map
from flowq.authoring.calls.traced import add_call, add_map
from flowq.authoring.calls.tracing import PLAIN_PROGRAM, Trace, active, caller
from flowq.core.errors import InvalidFlow
from flowq.engine.replay import Execution

R = TypeVar("R")


class Mapped(list[R]):
    """The type of `.map` for type checkers: a list in a graph, and awaitable in a program.

    No value has this type: in a graph it is a Ref, and outside a flow a list.
    """

    def __await__(self) -> Generator[Any, Any, list[R]]:
        """Wait for all items, in a program."""
        raise NotImplementedError


def call(callee: Callee, options: Options, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a step or a flow.

    Raises:
        InvalidFlow: the arguments do not fit or cannot be stored, or an option has no meaning here.
        Exception: as plain Python, whatever the function raises.
    """
    if options.tolerate is not None:
        raise InvalidFlow(
            f"{callee.kind} {callee.label!r} has tolerate= at {caller()}, but that option is for "
            "maps",
            hint=f"write {callee.code}.map(…), or allow_failure=True for a single call",
        )
    mode = active()
    if isinstance(mode, Trace | Execution):
        callee.ready()
    if isinstance(mode, Trace):
        return add_call(mode, callee, options, args, kwargs)
    if isinstance(mode, Execution):
        return program_call(mode, callee, options, args, kwargs)
    if mode is PLAIN_PROGRAM:
        return await_call(callee, options, args, kwargs)
    return run_call(callee, options, args, kwargs)


def call_map(callee: Callee, options: Options, items: Any, constants: Mapping[str, Any]) -> Any:
    """Call a step or a flow once for each item; raises as `call`."""
    mode = active()
    if isinstance(mode, Trace | Execution):
        callee.ready()
    if isinstance(mode, Trace):
        return add_map(mode, callee, options, items, constants)
    if isinstance(mode, Execution):
        return program_map(mode, callee, options, items, constants)
    if mode is PLAIN_PROGRAM:
        return await_map(callee, options, items, constants)
    return run_map(callee, options, items, constants)


def refuse_enqueue(callee: Callee, options: Options) -> None:
    """Refuse to enqueue a run inside a flow's own function, or with options of calls.

    Raises:
        InvalidFlow: a flow is traced, or a program runs, which would enqueue again in every replay;
            or an option has no meaning for a run of its own.
    """
    mode = active()
    if isinstance(mode, Trace | Execution):
        doing = "is traced" if isinstance(mode, Trace) else "runs, and would be in each replay"
        raise InvalidFlow(
            f"flow {callee.name!r} is enqueued while another flow {doing} ({caller()})",
            hint=f"call it, {callee.code}(…), for a child run; or enqueue it in a step",
        )
    for name in options.changed_names():
        raise InvalidFlow(
            f"flow {callee.name!r} is enqueued with {name}= ({caller()})",
            hint="this option is for calls of the flow in another flow; leave it out",
        )


def refuse_of_runs(callee: Callee, submission: Mapping[str, Any]) -> None:
    """Refuse to call a flow with options of `enqueue`.

    Raises:
        InvalidFlow: an option is for `enqueue`.
    """
    for name, value in submission.items():
        if value is not None:
            raise InvalidFlow(
                f"flow {callee.name!r} is called with {name}= ({caller()})",
                hint=f"it is for {callee.code}.enqueue(…); a child run has the user, the deadline, "
                "the budget and the priority of its parent",
            )
