"""What leads from a step of a playbook to another: the arrows of its pictures.

A transition of `next` has no condition; what an entry of `case` does has that of the entry. Pages
and retries lead from a step to itself. A sink is a branch of its own, with the name of its step and
`_sink`. The step `end` needs not to be there: then what leads to it ends, and has no arrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from flowq.playbooks.document.actions import (
    Action,
    Branch,
    Call,
    Next,
    Page,
    Retry,
    Sink,
)
from flowq.playbooks.document.models import Playbook, Step


class ArrowKind(StrEnum):
    """Why a step follows another one."""

    NEXT = "next"
    BRANCH = "branch"  #: `call` with the name of a step.
    PAGE = "page"
    RETRY = "retry"
    SINK = "sink"


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a step to the one that follows; `when` is the condition, if there is one."""

    before: str
    after: str
    kind: ArrowKind = ArrowKind.NEXT
    when: str | None = None


def arrows(playbook: Playbook) -> tuple[Arrow, ...]:
    """Return the arrows of a playbook, in the order of the document, each of them once."""
    found = dict.fromkeys(arrow for step in playbook.workflow for arrow in _of_step(step))
    named = {step.name for step in playbook.workflow}
    return tuple(one for one in found if one.kind is ArrowKind.SINK or one.after in named)


def sink_of(step: str) -> str:
    """Return the name of the branch that stores what a step has made."""
    return f"{step}_sink"


def _of_step(step: Step) -> Iterator[Arrow]:
    for case in step.case:
        for action in case.then:
            yield from _of_action(step.name, action, case.when)
    if step.sink is not None:
        yield Arrow(step.name, sink_of(step.name), ArrowKind.SINK)
    for transition in step.next:
        yield Arrow(step.name, transition.step)


def _of_action(name: str, action: Action, when: str) -> Iterator[Arrow]:
    match action:
        case Next():
            for transition in action.transitions:
                yield Arrow(name, transition.step, ArrowKind.NEXT, when)
        case Branch():
            yield Arrow(name, action.step, ArrowKind.BRANCH, when)
        case Call() | Page():
            yield Arrow(name, name, ArrowKind.PAGE, when)
        case Retry():
            yield Arrow(name, name, ArrowKind.RETRY, when)
        case Sink():
            yield Arrow(name, sink_of(name), ArrowKind.SINK, when)
        case _:
            pass
