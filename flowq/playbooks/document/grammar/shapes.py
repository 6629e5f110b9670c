"""Shapes of values: each checks a value, and writes itself as JSON Schema.

The modules beside this one describe the language by these shapes, so what is checked and what an
editor is told are one thing. `fits` looks at the type alone: of several forms the first that fits
is checked, and its problems are those that are reported.
"""

# ruff: noqa: D102 - what the methods of a shape do stands once, at `Shape`
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowq.core.text.json_values import JsonPath
from flowq.playbooks.document.report import Report, found

Schema = dict[str, Any]


class Shape(Protocol):
    """What a value can look like.

    Attributes:
        says: What it is, for people: `a text`.
    """

    @property
    def says(self) -> str: ...

    def fits(self, value: Any) -> bool:
        """Return whether a value has the type of this shape."""
        ...

    def check(self, value: Any, path: JsonPath, report: Report) -> None:
        """Report what is wrong with a value."""
        ...

    def schema(self, parts: dict[str, Schema]) -> Schema:
        """Return the JSON Schema; named parts of it are added to `parts`."""
        ...


class _Shape:
    """Checks the type of a value, and then whatever else."""

    says = "something else"

    def fits(self, _value: Any) -> bool:
        return True

    def check(self, value: Any, path: JsonPath, report: Report) -> None:
        if self.fits(value):
            self.inside(value, path, report)
        else:
            report.problem(path, f"must be {self.says}; found {found(value)}")

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        """Report what is wrong with a value of the right type."""


@dataclass(frozen=True)
class Text(_Shape):
    """A text that is not rendered."""

    most: int | None = None
    says: str = "a text that is not empty"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value.strip() != ""

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        if self.most and len(value) > self.most:
            report.problem(path, f"has {len(value):,} characters; the limit is {self.most:,}")

    def schema(self, _parts: dict[str, Schema]) -> Schema:
        return {"type": "string", "minLength": 1, **({"maxLength": self.most} if self.most else {})}


@dataclass(frozen=True)
class Template(Text):
    """A text that is rendered."""

    blocks: bool = False

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        report.template(value, path, blocks=self.blocks)


@dataclass(frozen=True)
class Condition(Text):
    """An expression, with or without `{{ }}`."""

    says: str = "a condition"

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        report.expression(without_delimiters(value), path)


@dataclass(frozen=True)
class Name(Text):
    """A name that templates can use."""

    says: str = "a name of letters, digits and '_'"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value.isidentifier()

    def schema(self, _parts: dict[str, Schema]) -> Schema:
        return {"type": "string", "pattern": r"^[^\W\d]\w*$"}


@dataclass(frozen=True)
class Number(_Shape):
    """A number between two others, both included."""

    least: float = 0
    most: float | None = None
    whole: bool = False

    @property
    def says(self) -> str:  # type: ignore[override]
        kind = "a whole number" if self.whole else "a number"
        if self.most is None:
            return f"{kind} of at least {self.least:,}"
        return f"{kind} from {self.least:,} to {self.most:,}"

    def fits(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.least <= value and (self.most is None or value <= self.most)

    def schema(self, _parts: dict[str, Schema]) -> Schema:
        most = {} if self.most is None else {"maximum": self.most}
        return {"type": "integer" if self.whole else "number", "minimum": self.least, **most}


@dataclass(frozen=True)
class Flag(_Shape):
    """True or false."""

    says: str = "true or false"

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)

    def schema(self, _parts: dict[str, Schema]) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice(_Shape):
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def says(self) -> str:  # type: ignore[override]
        words = [repr(one) if isinstance(one, str) else str(one).lower() for one in self.values]
        return " or ".join(words)

    def fits(self, value: Any) -> bool:
        return any(type(one) is type(value) and one == value for one in self.values)

    def schema(self, _parts: dict[str, Schema]) -> Schema:
        return {"enum": list(self.values)}


@dataclass(frozen=True)
class Anything(_Shape):
    """Any data.

    Attributes:
        rendered: Whether its texts are templates.
        blocks: Whether they may have `{% … %}`.
    """

    rendered: bool = True
    blocks: bool = False
    says: str = "anything"

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        if self.rendered:
            report.templates(value, path, blocks=self.blocks)

    def schema(self, _parts: dict[str, Schema]) -> Schema:
        return {}


@dataclass(frozen=True)
class Fields(Anything):
    """A mapping with any keys."""

    says: str = "a mapping"

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict)

    def schema(self, _parts: dict[str, Schema]) -> Schema:
        return {"type": "object"}


@dataclass(frozen=True)
class ListOf(_Shape):
    """A list of equal shapes.

    Attributes:
        empty: What is said of an empty list; None allows it.
    """

    item: Shape
    empty: str | None = None
    says: str = "a list"

    def fits(self, value: Any) -> bool:
        return isinstance(value, list)

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        if not value and self.empty:
            report.problem(path, self.empty)
        for at, one in enumerate(value):
            self.item.check(one, (*path, at), report)

    def schema(self, parts: dict[str, Schema]) -> Schema:
        return {
            "type": "array",
            "items": self.item.schema(parts),
            **({"minItems": 1} if self.empty else {}),
        }


@dataclass(frozen=True)
class Key:
    """A key of a form.

    Attributes:
        text: What it means, for editors and for the reference.
        default: What it is when it is absent, as it is shown.
        missing: What is said when it is absent; None for a key that may be.
    """

    name: str
    shape: Shape
    text: str
    default: str = ""
    missing: str | None = None


@dataclass(frozen=True)
class Form(_Shape):
    """A mapping with known keys.

    Attributes:
        name: What it is called in the schema and in the reference.
        refused: What is said of keys that are written by mistake.
        hints: What follows "unknown key", by key; `hint` is that of the others.
        one_of: Of each group, one key must be there.
        free: The shape of other keys; None refuses them.
        empty: What is said of a mapping without keys.
    """

    name: str
    text: str
    keys: tuple[Key, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""
    one_of: tuple[tuple[str, ...], ...] = ()
    free: Shape | None = None
    empty: str | None = None
    says: str = "a mapping"

    def __post_init__(self) -> None:
        object.__setattr__(self, "_shapes", {key.name: key.shape for key in self.keys})
        needed = [key for key in self.keys if key.missing is not None]
        object.__setattr__(self, "_needed", needed)

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict)

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        shapes: dict[str, Shape] = self._shapes  # type: ignore[attr-defined] # of __post_init__
        refused: set[str] = set()
        for key, one in value.items():
            if shape := shapes.get(key):
                shape.check(one, (*path, key), report)
            elif key in self.refused:
                if self.refused[key] not in refused:
                    report.problem(path, self.refused[key], key=key)
                refused.add(self.refused[key])
            elif self.free is not None:
                self.free.check(one, (*path, key), report)
            else:
                report.unknown(path, key, tuple(shapes), self.hints.get(key, self.hint))
        if not refused:
            self._absent(value, path, report)

    def _absent(self, value: dict[str, Any], path: JsonPath, report: Report) -> None:
        """Report keys that must be there."""
        for missing in self._needed:  # type: ignore[attr-defined]
            if missing.name not in value:
                report.problem(path, missing.missing)
        for group in self.one_of:
            if not any(key in value for key in group):
                report.problem(path, f"{' or '.join(map(repr, group))} is missing")
        if not value and self.empty:
            report.problem(path, self.empty)

    def schema(self, parts: dict[str, Schema]) -> Schema:
        if self.name not in parts:
            parts[self.name] = {}  # forms may contain themselves
            parts[self.name] |= self._schema(parts)
        return {"$ref": f"#/$defs/{self.name}"}

    def _schema(self, parts: dict[str, Schema]) -> Schema:
        made: Schema = {
            "type": "object",
            "description": self.text,
            "properties": {
                key.name: {**key.shape.schema(parts), "description": described(key)}
                for key in self.keys
            },
            "additionalProperties": self.free is not None,
        }
        if needed := [key.name for key in self.keys if key.missing is not None]:
            made["required"] = needed
        if self.one_of:
            made["allOf"] = [{"anyOf": [{"required": [k]} for k in group]} for group in self.one_of]
        if self.empty:
            made["minProperties"] = 1
        return made


@dataclass(frozen=True)
class Either(_Shape):
    """One of several shapes; the first that fits."""

    shapes: tuple[Shape, ...]
    says: str

    def fits(self, value: Any) -> bool:
        return any(one.fits(value) for one in self.shapes)

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        next(one for one in self.shapes if one.fits(value)).check(value, path, report)

    def schema(self, parts: dict[str, Schema]) -> Schema:
        return {"anyOf": [one.schema(parts) for one in self.shapes]}


def described(key: Key) -> str:
    """Return the text of a key with its default."""
    return f"{key.text} Default: {key.default}." if key.default else key.text


def without_delimiters(text: str) -> str:
    """Return a condition without its `{{ }}`."""
    inner = text.strip()
    if inner.startswith("{{") and inner.endswith("}}"):
        inner = inner[2:-2].removeprefix("-").removesuffix("-").strip()
    return inner
