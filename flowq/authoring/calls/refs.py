"""`Ref` and `Condition`: placeholders in a flow for values that do not exist yet.

While a flow is traced, a call of a step returns a `Ref`. Attribute and index access make a longer
path (`page.output.title`), comparisons make a `Condition`, and everything that needs the value
itself (`if`, `for`, `len`, arithmetic, an f-string) is refused with a hint what to write instead:
otherwise `if score:` would always be true and `f"{page}"` would put `<Ref …>` into a prompt.

Results have fields of any name, so a Ref has no public attribute of its own: its state is in
mangled slots, read by the functions at the end of this file. Both kinds know their trace, since a
path into one run has no meaning in another.
"""

from collections.abc import Callable, Sized
from typing import Final, NoReturn

from flowq.core.references import PathPart, Reference

_USE_WHEN: Final = (
    "give the condition to the step that depends on it: my_step.options(when=…); "
    "join conditions with & | ~"
)
_USE_MAP: Final = "run a step for each item: my_step.map(ref)"
_USE_STEP: Final = "pass it to a step, and do this in the step"

# Python's mangled names of the slots below.
_OWNER: Final = "_Operand__owner"
_REFERENCE: Final = "_Ref__reference"
_NAME: Final = "_Condition__name"
_OPERANDS: Final = "_Condition__operands"


def _refusal(doing: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(self: "_Operand", *_: object, **__: object) -> NoReturn:
        raise TypeError(
            f"{self!r} has no value yet while the flow is traced, so {doing} is not possible\n"
            f"  → {instead}",
        )

    return refuse


def _comparison(name: str, *, swapped: bool = False) -> "Callable[[_Operand, object], Condition]":
    def compare(self: "_Operand", other: object) -> "Condition":
        return Condition(owner(self), name, (other, self) if swapped else (self, other))

    return compare


class _Operand:
    """The base of both: it can be compared and combined, but not used as a value."""

    __slots__ = ("__owner",)

    def __init__(self, owner: object) -> None:
        self.__owner = owner

    def __copy__(self) -> "_Operand":
        return self

    def __deepcopy__(self, memo: object) -> "_Operand":
        # A copy of an argument must still be a reference into the same trace.
        return self

    # A comparison returns a Condition here, not a bool as in `object.__eq__`.
    __eq__ = _comparison("==")  # type: ignore[assignment]
    __ne__ = _comparison("!=")  # type: ignore[assignment]
    __hash__ = object.__hash__
    __lt__ = _comparison("<")
    __le__ = _comparison("<=")
    __gt__ = _comparison(">")
    __ge__ = _comparison(">=")
    __and__ = _comparison("and")
    __rand__ = _comparison("and", swapped=True)
    __or__ = _comparison("or")
    __ror__ = _comparison("or", swapped=True)

    def __invert__(self) -> "Condition":
        return Condition(self.__owner, "not", (self,))

    __bool__ = _refusal("deciding `if`, `while`, `and`, `or`, `not` by it", _USE_WHEN)
    __iter__ = _refusal("iterating over it or unpacking it", _USE_MAP + "; for one item: ref[0]")
    __len__ = _refusal("len() of it", f"in a condition: flowq.length(ref) > 0; else {_USE_STEP}")
    __contains__ = _refusal("testing it with `in`", _USE_STEP)
    __call__ = _refusal("calling it or one of its methods", _USE_STEP)
    __str__ = __format__ = __bytes__ = _refusal("formatting it as text", _USE_STEP)
    __int__ = __float__ = __complex__ = __index__ = _refusal("using it as a number", _USE_STEP)
    __add__ = __radd__ = __sub__ = __rsub__ = _refusal("using it in arithmetic", _USE_STEP)
    __mul__ = __rmul__ = __matmul__ = __rmatmul__ = __truediv__ = __rtruediv__ = __add__
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __add__
    __neg__ = __pos__ = __abs__ = __round__ = __add__
    __setitem__ = __delitem__ = _refusal("changing it", _USE_STEP)
    __await__ = _refusal("awaiting it", "in a `def` flow call an async step without await")
    __enter__ = __exit__ = _refusal("using it in `with`", _USE_STEP)
    __reduce_ex__ = _refusal("pickling it", "use it inside the flow that created it")


class Ref(_Operand):
    """The result of a step that has not run yet, or a part of it.

    `ref.name` and `ref["name"]` are a field or key, `ref[0]` is an item. A name that begins with an
    underscore is written `ref["_name"]`.
    """

    __slots__ = ("__reference",)

    def __init__(self, owner: object, reference: Reference) -> None:
        super().__init__(owner)
        self.__reference = reference

    def __getattr__(self, name: str) -> "Ref":
        # Python itself reads many names with underscores (copy, pickle, inspect, IPython), also
        # before __init__ has run: returning a Ref would be wrong, or an endless loop.
        if name.startswith("_"):
            raise AttributeError(f'a Ref has no {name!r}; for a field of that name: ref["{name}"]')
        return self[name]

    def __getitem__(self, part: PathPart) -> "Ref":
        if isinstance(part, bool) or not isinstance(part, int | str):
            raise TypeError(
                f"{self!r} takes a name or a number in [ ], not a {type(part).__name__}\n"
                f"  → {_USE_STEP}",
            )
        path = (*self.__reference.path, part)
        return Ref(owner(self), Reference(self.__reference.step, path))

    def __repr__(self) -> str:
        return f"<Ref {self.__reference}>"


class Condition(_Operand):
    """A comparison of Refs, or a combination of several; for `when=`.

    In a flow that runs as plain Python the same expression gives a plain bool. There `~` is not
    `not`, so write `a != b` and not `~(a == b)`.
    """

    __slots__ = ("__name", "__operands")

    def __init__(self, owner: object, name: str, operands: tuple[object, ...]) -> None:
        super().__init__(owner)
        self.__name = name
        self.__operands = operands

    def __repr__(self) -> str:
        return f"<Condition {self.__name} {', '.join(map(repr, self.__operands))}>"


def length(value: Sized) -> int:
    """Return the length of a list, for conditions: `options(when=flowq.length(found) > 0)`.

    For a Ref it is a part of a condition, for anything else the plain length.
    """
    if isinstance(value, _Operand):
        # Typed as its value on the worker, like calls of steps.
        return Condition(owner(value), "len", (value,))  # type: ignore[return-value]
    return len(value)


def owner(operand: _Operand) -> object:
    """Return the trace that a Ref or Condition belongs to."""
    return getattr(operand, _OWNER)


def reference(ref: Ref) -> Reference:
    """Return the reference of a Ref: a step and a path into its result."""
    found = getattr(ref, _REFERENCE)
    assert isinstance(found, Reference)
    return found


def operation(condition: Condition) -> tuple[str, tuple[object, ...]]:
    """Return the operator of a condition and its operands: constants, Refs, Conditions."""
    return getattr(condition, _NAME), getattr(condition, _OPERANDS)
