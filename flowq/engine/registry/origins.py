"""Where a step or a flow is defined, and whether it is an earlier definition again.

Workers find a step by its name, so names must be unique. But a module may be executed again: by
`importlib.reload`, as a script that is also imported, by a test runner under another name, as a
cell of a notebook. Then the same step is defined again and replaces itself. So an origin has the
code at the top of the stack at its definition, that of a module or a cell, which is a new object
each time it is compiled:

    other code of the same file      executed again: the same qualified name is the same step
    a cell of the same session       the same, for what the cell itself defines
    anything else                    two definitions, unless they are indistinguishable: equal code,
                                     with equal values in its closure
"""

import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CellType, CodeType, FrameType, FunctionType, MethodType
from typing import Any, Final

#: Maximum number of compared values; with more, two definitions count as different.
_MAX_COMPARED: Final = 10_000
#: Attributes that flowq adds to a class once it is registered.
_MADE_LATER: Final = frozenset({"flow"})
#: The parts of values of some types.
_MADE_OF: Final = (
    (
        FunctionType,
        ("__code__", "__qualname__", "__closure__", "__defaults__", "__kwdefaults__"),
    ),
    (CodeType, ("co_filename", "co_firstlineno", "co_code", "co_consts", "co_names")),
    (MethodType, ("__func__", "__self__")),
    (staticmethod | classmethod, ("__func__",)),
    (property, ("fget", "fset", "fdel")),
    (partial, ("func", "args", "keywords")),
)


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where something was defined.

    Attributes:
        subject: The function, class or object.
        name: Its qualified name, or that of its type.
        place: `file:line`, for messages.
        file: The file, resolved.
        load: The code at the top of the stack, and the names of its module; None in a thread.
        beside: Other parts of the definition, like a key function.
    """

    subject: Any
    name: str
    place: str
    file: str
    load: tuple[CodeType, dict[str, Any]] | None
    beside: Any = None

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"

    def is_again(self, known: "Origin") -> bool:
        """Return whether this is the same definition as an earlier one."""
        if self.load is not None and known.load is not None and self.load[0] is not known.load[0]:
            same = self.name == known.name
            if same and self.file == known.file and _executed_again(self.load[0], known.load[0]):
                return True
            if same and self.load[1] is known.load[1] and _is_session(self.load[1]):
                return self.is_of_its_load and known.is_of_its_load
        return _alike((self.subject, self.beside), (known.subject, known.beside), set())

    @property
    def is_flowqs(self) -> bool:
        """Whether it is defined in flowq itself."""
        return str(getattr(self.subject, "__module__", "")).startswith("flowq.")

    @property
    def is_of_its_load(self) -> bool:
        """Whether the code at the top of the stack contains the definition."""
        assert self.load is not None
        code = getattr(inspect.unwrap(self.subject), "__code__", None)
        # For a class: whether its methods are.
        codes = [code] if code else [one.__code__ for one in _methods(self.subject)]
        return any(one in _codes(self.load[0]) for one in codes)


def origin_of(subject: Any, beside: Any = None) -> Origin:
    """Return the origin of a definition; to be called while it is being defined."""
    frame = _definer(subject)
    code = getattr(inspect.unwrap(subject), "__code__", None)
    file = code.co_filename if code else frame.f_code.co_filename
    line = code.co_firstlineno if code else frame.f_lineno
    name = getattr(subject, "__qualname__", None) or type(subject).__qualname__
    return Origin(subject, name, shown_place(file, line), _resolved(file), _load(frame), beside)


def shown_place(file: str, line: int) -> str:
    """Return `file:line` as seen from the current folder, for messages."""
    path, here = Path(file), Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{line}"


def is_ours(frame: FrameType) -> bool:
    """Return whether a frame is flowq's own."""
    module: str = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] == "flowq"


def _definer(subject: Any) -> FrameType:
    """Return the frame of the user's code that defines a subject."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the stack has no other door
    while frame is not None and is_ours(frame) and frame.f_back is not None:
        frame = frame.f_back
    assert frame is not None
    if not isinstance(subject, type):
        return frame
    # Frames of metaclasses may be between a class and the user's code.
    own = frame
    while own.f_globals.get("__name__") != subject.__module__:
        if own.f_back is None:
            return frame
        own = own.f_back
    return own


def _load(frame: FrameType) -> tuple[CodeType, dict[str, Any]] | None:
    top: FrameType | None = frame
    # The locals of a function are not read, because that copies them.
    while top is not None and (
        top.f_code.co_flags & inspect.CO_OPTIMIZED or top.f_globals is not top.f_locals
    ):
        top = top.f_back
    return None if top is None else (top.f_code, top.f_globals)


def _executed_again(one: CodeType, other: CodeType) -> bool:
    file = _resolved(one.co_filename)
    # Code without a file cannot be identified: `exec` names all of it "<string>".
    return file == _resolved(other.co_filename) and (not file.startswith("<") or one == other)


def _is_session(names: dict[str, Any]) -> bool:
    """Return whether the names are those of a notebook or of Python's prompt."""
    return names.get("__name__") == "__main__" and "__file__" not in names


def _resolved(file: str) -> str:
    return file if file.startswith("<") else str(Path(file).resolve())


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _codes(one)


def _methods(subject: Any) -> list[FunctionType]:
    return [one for one in vars(subject).values() if isinstance(one, FunctionType)]


# --- values that cannot be distinguished ---------------------------------------------------------


def _alike(one: Any, other: Any, seen: set[tuple[int, int]]) -> bool:
    """Return whether two values cannot be distinguished from outside."""
    if one is other or (id(one), id(other)) in seen:
        return True
    if type(one) is not type(other) or len(seen) >= _MAX_COMPARED:
        return False
    seen.add((id(one), id(other)))
    parts = _parts(one, other)
    if parts is None:
        return _equal(one, other)
    return all(_alike(a, b, seen) for a, b in parts)


def _parts(one: Any, other: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the parts that have to be alike for two values of one type; None for plain values."""
    for kind, names in _MADE_OF:
        if isinstance(one, kind):
            return [(getattr(one, name, None), getattr(other, name, None)) for name in names]
    parts: Iterable[tuple[Any, Any]] | None = None
    if isinstance(one, CellType):
        parts = [(_content(one), _content(other))]
    elif isinstance(one, type):
        parts = [(_attributes(one), _attributes(other))]
    elif isinstance(one, list | tuple):
        parts = [(len(one), len(other)), *zip(one, other, strict=False)]
    elif isinstance(one, dict):
        parts = [(list(one), list(other)), *zip(one.values(), other.values(), strict=False)]
    elif _has_identity(one) and hasattr(one, "__dict__"):
        parts = [(vars(one), vars(other))]
    return parts


def _has_identity(value: Any) -> bool:
    compare: object = type(value).__eq__
    return compare is object.__eq__


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - what cannot be compared, like arrays, counts as another
        return False


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return CellType  # it is still empty


def _attributes(cls: type) -> dict[str, Any]:
    """Return the attributes that the user's code gave a class."""
    written = {
        name: value
        for name, value in vars(cls).items()
        if name not in _MADE_LATER and (not name.startswith("_") or isinstance(value, FunctionType))
    }
    notes = vars(cls).get("__annotations__", {})
    return {"name": (cls.__module__, cls.__qualname__), "notes": notes, **written}


def raised_in(function: Any, error: BaseException) -> bool:
    """Return whether an error came through the file of a function, and not from elsewhere."""
    code = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    return code is not None and any(frame.filename == code.co_filename for frame in frames)
