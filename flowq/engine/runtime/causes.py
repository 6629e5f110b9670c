"""What is recorded of an exception: its text, its traceback and its causes.

An exception is shown as Python shows it: causes first, then the exception itself, and below a group
its members, each with its own traceback. Frames of flowq are left out. Exceptions are the user's
objects: they may be chained in a circle, have ten thousand members, or a text of a gigabyte. So
depth, number and size are bounded before anything is formatted, and what is left out is counted. If
code of the user raises here (`__str__`), the text says so.
"""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowq.core.errors import FlowqError
from flowq.core.results import user_place
from flowq.engine.interrupts import interrupt_in

_MESSAGE_LIMIT: Final = 4000
_TYPE_LIMIT: Final = 200
#: Exceptions of one failure that are read: of a chain, of a group, levels of groups, in all.
_MAX_LINKS: Final = 10
_MAX_MEMBERS: Final = 15
_MAX_DEPTH: Final = 8
_MAX_ERRORS: Final = 60
#: Exceptions of a longer chain that are followed to find its root.
_MAX_CHAIN: Final = 100_000
#: Frames of a deep traceback that are read, those nearest to where it was raised.
_MAX_FRAMES: Final = 1_000
_MAX_NOTES: Final = 10
#: Frames and characters of a message that are shown; the first pair that fits the limit is used.
_SIZES: Final = ((60, 4000), (12, 1000), (4, 300), (2, 120))
_TRACEBACK_LIMIT: Final = 8000
#: Size of the list of causes: how many, and characters of each.
_MAX_NAMED: Final = 8
_NAMED_LIMIT: Final = 300

_PACKAGE: Final = Path(__file__).resolve().parents[2]
#: Modules that run the code of a step; step types that ship with flowq count as user code.
_OWN: Final = tuple(
    f"{_PACKAGE / part}"
    for part in ("engine/", "authoring/", "adapters/", "client/", "entrypoints/")
)
#: A frame between two of flowq, where one thread waits for another.
_BETWEEN: Final = ("concurrent/futures/_base.py", "concurrent\\futures\\_base.py")

_OF_CAUSE: Final = "The above exception was the direct cause of the following exception:"
_OF_CONTEXT: Final = "During handling of the above exception, another exception occurred:"


@dataclass(slots=True)
class _Node:
    """The part of an exception that is shown."""

    error: BaseException
    link: str | None = None  #: How its cause is linked to it.
    cause: "_Node | None" = None
    left_out: int = 0  #: Causes between this one and `cause`.
    members: "tuple[_Node, ...]" = ()
    count: int = 0  #: How many members it has.


def error_details(error: BaseException) -> dict[str, Any]:
    """Return what the metadata of a failed step record of an exception.

    Returns:
        `traceback`: a text of at most 8,000 characters; `causes`, if there are any: each with its
        `relation` (`cause`, `context` or `member`), `error_type`, `message` and `place`; the ones
        nearest to the exception first, the root cause last.
    """
    try:
        tree = _tree(error)
        found: dict[str, Any] = {"traceback": _text(tree)}
        if causes := list(_named(tree)):
            # The root cause is the last one.
            most = _MAX_NAMED - 1
            found["causes"] = causes if len(causes) <= most else [*causes[:most], causes[-1]]
    except Exception as broken:  # noqa: BLE001 - attributes of a user's exception may raise, too
        reason = f"its traceback cannot be read: {type(broken).__name__} was raised"
        return {"traceback": storable(f"{_name(error)}: {reason}")}
    return found


def message_of(error: BaseException) -> str:
    """Return the text of an exception, without its hint, which is shown separately."""
    text = _message(error)
    if isinstance(error, SystemExit) or (isinstance(error, Exception) and text.strip()):
        return text[:_MESSAGE_LIMIT]
    # Without a text, or if it is no `Exception`, the class is named.
    return ": ".join(part for part in (type_of(error), text) if part.strip())[:_MESSAGE_LIMIT]


def type_of(error: BaseException) -> str:
    """Return the name of an exception's class."""
    return storable(type(error).__qualname__)[:_TYPE_LIMIT]


def storable(text: str) -> str:
    """Return text without lone surrogates, which no database stores; file names may have them."""
    return text.encode(errors="backslashreplace").decode()


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) was called"
    try:
        text = error.message if isinstance(error, FlowqError) else str(error)
        return storable(text[: _MESSAGE_LIMIT + 1])
    except BaseException as broken:
        if interrupt_in(broken) is not None:
            raise
        return "its text cannot be read: __str__ raised"


# --- the tree -------------------------------------------------------------------------------------


class _Seen:
    """Exceptions that are in the tree already, and how many more may be added."""

    def __init__(self) -> None:
        self._ids: set[int] = set()

    def take(self, error: BaseException) -> bool:
        """Return whether an exception may be added."""
        if id(error) in self._ids or len(self._ids) >= _MAX_ERRORS:
            return False
        self._ids.add(id(error))
        return True


def _tree(error: BaseException) -> _Node:
    seen = _Seen()
    seen.take(error)
    return _node(error, seen, depth=0)


def _node(error: BaseException, seen: _Seen, *, depth: int) -> _Node:
    """Return an exception with its causes and the members of each."""
    first = last = _with_members(error, seen, depth)
    chain = _chain(error)
    for place, (link, cause) in enumerate(chain):
        is_root = place == len(chain) - 1
        if not is_root and place >= _MAX_LINKS - 1:
            last.left_out += 1
            continue
        if not seen.take(cause):
            break
        last.link = link
        last.cause = _with_members(cause, seen, depth)
        last = last.cause
    return first


def _chain(error: BaseException) -> list[tuple[str, BaseException]]:
    """Return the causes of an exception, nearest first, up to the root or a circle."""
    found: list[tuple[str, BaseException]] = []
    ids = {id(error)}
    one = error
    while len(found) < _MAX_CHAIN:
        if one.__cause__ is not None:
            link, cause = _OF_CAUSE, one.__cause__
        elif one.__context__ is not None and not one.__suppress_context__:
            link, cause = _OF_CONTEXT, one.__context__
        else:
            break
        if id(cause) in ids:
            break
        ids.add(id(cause))
        found.append((link, cause))
        one = cause
    return found


def _with_members(error: BaseException, seen: _Seen, depth: int) -> _Node:
    node = _Node(error)
    if isinstance(error, BaseExceptionGroup):
        node.count = len(error.exceptions)
        if depth < _MAX_DEPTH:
            members = (one for one in error.exceptions[:_MAX_MEMBERS] if seen.take(one))
            node.members = tuple(_node(one, seen, depth=depth + 1) for one in members)
    return node


# --- the text -------------------------------------------------------------------------------------


def _text(tree: _Node) -> str:
    text = ""
    for frames, characters in _SIZES:
        text = "\n".join(_lines(tree, frames, characters))
        if len(text) <= _TRACEBACK_LIMIT:
            break
    if len(text) > _TRACEBACK_LIMIT:
        # Both ends are the most useful: the root cause is first, the exception itself last.
        cut, half = "\n…\n", _TRACEBACK_LIMIT // 2
        text = text[: half - len(cut)] + cut + text[-half:]
    return text + "\n"


def _lines(node: _Node, frames: int, characters: int) -> Iterator[str]:
    """Yield the lines of an exception, its causes before it."""
    nodes = [node]
    while (cause := nodes[-1].cause) is not None:
        nodes.append(cause)
    for one in reversed(nodes):
        if one.cause is not None:
            if one.left_out:
                yield f"\n… {one.left_out:,} exceptions between them are left out …"
            yield f"\n{one.link}\n"
        yield from _frames_of(one.error, frames)
        yield from _last_lines(one.error, characters)
        for number, member in enumerate(one.members, start=1):
            yield f"  +---------------- {number} of {one.count:,} ----------------"
            for line in _lines(member, frames, characters):
                yield from (f"  | {part}".rstrip() for part in line.split("\n"))
        if one.count > len(one.members):
            yield f"  +---------------- and {one.count - len(one.members):,} more"


def _frames_of(error: BaseException, most: int) -> Iterator[str]:
    found = _frames(error)
    left_out = len(found) - most
    if left_out <= 0:
        yield from _formatted(found)
        return
    # The outermost frames and those where it was raised.
    yield from _formatted(found[: most // 2])
    yield f"  … {left_out:,} frames are left out …"
    yield from _formatted(found[most // 2 + left_out :])


def _formatted(frames: list[traceback.FrameSummary]) -> list[str]:
    return [storable(text.rstrip("\n")) for text in traceback.format_list(frames)]


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of an exception's traceback that are not flowq's own."""
    kept, was_own = [], False
    for frame in traceback.extract_tb(error.__traceback__, limit=-_MAX_FRAMES):
        is_own = frame.filename.startswith(_OWN)
        was_own = is_own or (was_own and frame.filename.endswith(_BETWEEN))
        if not was_own:
            kept.append(frame)
    return kept


def _last_lines(error: BaseException, characters: int) -> Iterator[str]:
    message = _message(error)
    said = message if len(message) <= characters else f"{message[:characters]}…"
    yield f"{_name(error)}: {said}" if said else _name(error)
    if isinstance(error, FlowqError) and error.hint:
        yield storable(f"  → {error.hint[:characters]}")
    notes = getattr(error, "__notes__", ())
    for note in notes[:_MAX_NOTES] if isinstance(notes, list | tuple) else ():
        if isinstance(note, str):
            yield storable(note[:characters])


def _name(error: BaseException) -> str:
    kind = type(error)
    module = kind.__module__
    prefix = "" if module in {"builtins", "__main__"} else f"{module}."
    return storable(f"{prefix}{kind.__qualname__}")[:_TYPE_LIMIT]


# --- the list -------------------------------------------------------------------------------------


def _named(node: _Node) -> Iterator[dict[str, Any]]:
    """Yield everything below an exception: its members, its cause, the members of that."""
    one: _Node | None = node
    while one is not None:
        for member in one.members:
            yield _line("member", member.error)
            yield from _named(member)
        if one.cause is not None:
            yield _line("cause" if one.link == _OF_CAUSE else "context", one.cause.error)
        one = one.cause


def _line(relation: str, error: BaseException) -> dict[str, Any]:
    frames = [(frame.filename, frame.lineno or 0, frame.name) for frame in _frames(error)]
    place = user_place(frames)
    return {
        "relation": relation,
        "error_type": type_of(error),
        "message": _message(error)[:_NAMED_LIMIT],
        "place": storable(place) if place else None,
    }
