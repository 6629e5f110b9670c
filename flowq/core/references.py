"""Templates: JSON with references in place of values that do not exist yet.

A reference names a step of the same flow and a path into its result:

    {"$ref": "fetch", "path": ["output", "title"]}
    {"$ref": "fetch", "default": …}          a template for what it is when the step was skipped
    {"$literal": {"$ref": "just text"}}      user data that looks like a reference
    {"$op": "==", "args": [ ..., 200]}       a condition, see `expressions`
    {"$float": "nan"}                        a float that JSON lacks, see `json_values`
    {"$failure": {"step": "fetch", ...}}     a `StepFailure` that a program passes on
    {"$concat": [ ..., {"$ref": "fetch"}]}   a list that is made of lists

A `FlowSpec` has templates for the arguments of its steps. `resolve` turns one into plain values
with a lookup. A path works on dicts, lists and objects, keys before attributes. A path into a
skipped step gives the default of its reference, or None; one into a failure gives that failure.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.core.errors import StepError
from flowq.core.results import StepFailure
from flowq.core.text.json_values import FLOAT

REF: Final = "$ref"
LITERAL: Final = "$literal"
OP: Final = "$op"
FAILURE: Final = "$failure"
CONCAT: Final = "$concat"
#: flowq's own keys; a user's dict with one of them becomes a literal.
MARKS: Final = frozenset({REF, LITERAL, OP, FAILURE, FLOAT, CONCAT})

#: Types of JSON data without parts: they hold neither references nor sets.
SCALARS: Final = frozenset({str, int, float, bool, type(None)})

PathPart = str | int
#: A template or a part of one: JSON data; the type is wide because JSON is recursive.
Template = Any


@dataclass(frozen=True, slots=True)
class Reference:
    """Names the result of a step, or a part of it."""

    step: str
    path: tuple[PathPart, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the template of this reference."""
        return {REF: self.step, "path": list(self.path)} if self.path else {REF: self.step}

    def __str__(self) -> str:
        return self.step + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path
        )


@dataclass(frozen=True, slots=True)
class Concat:
    """A list that is made of lists; a part may be, or hold, a `Reference`."""

    parts: tuple[Any, ...]


class Skipped:
    """The type of `SKIPPED`, which a lookup returns for a step that did not run."""


SKIPPED: Final = Skipped()

#: From a reference to its value, `SKIPPED` or a `StepFailure`. The lookup follows the path.
Lookup = Callable[[Reference], Any]


def as_reference(template: Template) -> Reference | None:
    """Return the reference that a template is, or None when it is something else."""
    return _reference(template) if _is_mapping(template) and REF in template else None


def literal(value: Any) -> Template:
    """Return the template of JSON data without references, whatever its keys are."""
    if isinstance(value, Mapping):
        inner = {key: literal(item) for key, item in value.items()}
        return {LITERAL: value} if not MARKS.isdisjoint(value) else inner
    if isinstance(value, list | tuple):
        return [literal(item) for item in value]
    return value


def references(template: Template) -> list[Reference]:
    """Return every reference in a template, in reading order."""
    found: list[Reference] = []
    _collect(template, found)
    return found


def _collect(template: Template, found: list[Reference]) -> None:
    items: Iterable[Any] = ()
    if isinstance(template, list | tuple):
        items = template
    elif _is_mapping(template):
        if REF in template:
            found.append(_reference(template))
        elif LITERAL not in template and FAILURE not in template:
            items = template.values()
    for item in items:
        if type(item) not in SCALARS:  # a call for each would take most of the time
            _collect(item, found)


def _is_mapping(template: Template) -> bool:
    """Return whether it is a mapping; most are dicts, and to ask for that first is much faster."""
    return type(template) is dict or isinstance(template, Mapping)


def _reference(template: Mapping[str, Any]) -> Reference:
    return Reference(template[REF], tuple(template.get("path", ())))


#: The values that marks replace.
_VALUES: Final[Mapping[str, Callable[[Any], Any]]] = {
    LITERAL: lambda data: data,
    FAILURE: StepFailure.model_validate,
    FLOAT: float,
}


def resolve(template: Template, lookup: Lookup) -> Any:
    """Return the value of a template.

    Raises:
        StepError: a path does not exist in the value.
    """
    if isinstance(template, Mapping):
        reference = as_reference(template)
        if reference is not None:
            value = lookup(reference)
            return resolve(template.get("default"), lookup) if value is SKIPPED else value
        if CONCAT in template:
            return [one for part in template[CONCAT] for one in resolve(part, lookup)]
        mark = next((mark for mark in _VALUES if mark in template), None)
        if mark is not None:
            return _VALUES[mark](template[mark])
        return {key: resolve(item, lookup) for key, item in template.items()}
    if isinstance(template, list | tuple):
        return [resolve(item, lookup) for item in template]
    return template


def follow(value: Any, path: tuple[PathPart, ...], whole: Reference) -> Any:
    """Return the part of `value` at `path`.

    Args:
        value: A result, `SKIPPED` or a `StepFailure`; the last two are returned as they are.
        path: The rest of the path.
        whole: The reference as the author wrote it, for the error.

    Raises:
        StepError: there is no such key, index or attribute.
    """
    for part in path:
        if value is SKIPPED or isinstance(value, StepFailure):
            return value
        value = _part(value, part, whole)
    return value


def _part(value: Any, part: PathPart, whole: Reference) -> Any:
    if isinstance(value, Mapping) and part in value:
        return value[part]
    if isinstance(part, int):
        if isinstance(value, list | tuple | str) and -len(value) <= part < len(value):
            return value[part]
        size = f" of {len(value)}" if hasattr(value, "__len__") else ""
        raise StepError(f"{whole} cannot be read: no item {part} in a {_kind(value)}{size}")
    if not part.startswith("_") and not isinstance(value, Mapping) and hasattr(value, part):
        return getattr(value, part)
    names = (
        f" (it has: {', '.join(map(str, list(value)[:8]))})" if isinstance(value, Mapping) else ""
    )
    raise StepError(f"{whole} cannot be read: no {part!r} in a {_kind(value)}{names}")


def _kind(value: Any) -> str:
    return type(value).__name__
