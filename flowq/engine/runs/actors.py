"""Who acts: kept in a ContextVar by the face through which an action comes.

A face sets it around the call that changes a run: `with acting(Face.HTTP, user): …`. What
the engine does by itself, for example pause a run whose budget is spent, is no action.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final
from uuid import UUID

from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.model.actions import ActionKind, Actor, Face, NewAction

#: Characters of a name that are recorded.
_MAX_NAME: Final = 200
_actor: ContextVar[Actor | None] = ContextVar("flowq_actor", default=None)


@contextmanager
def acting(face: Face, name: str | None = None) -> Iterator[None]:
    """Record the actions of the block as those of somebody.

    Args:
        face: Through which face they come.
        name: Who it is; None if nobody is logged in.
    """
    token = act_as(face, name)
    try:
        yield
    finally:
        _actor.reset(token)


def act_as(face: Face, name: str | None = None) -> "Token[Actor | None]":
    """Record all further actions of this context as those of somebody; arguments as `acting`."""
    shown = storable(name)[:_MAX_NAME] if name else None
    return _actor.set(Actor(face, shown or None))


def new_action(
    engine: Engine,
    run_id: RunId,
    kind: ActionKind,
    details: Mapping[str, Any] | None = None,
    *,
    id_: UUID | None = None,
) -> NewAction:
    """Return an action of whoever acts now; without anybody, of the Python process."""
    actor = _actor.get() or Actor(Face.PYTHON, engine.worker[:_MAX_NAME])
    return NewAction(id_ or engine.new_id(), run_id, kind, actor, details or {})


def storable(text: str) -> str:
    """Return text that every database can store."""
    shown = text.replace("\0", "\N{SYMBOL FOR NULL}")
    return shown.encode(errors="backslashreplace").decode()
