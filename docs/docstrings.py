"""How docstrings and signatures become the Python reference: hooks of autodoc.

The docstrings are for readers of the code and of `help()`, in Google's style. This file mends the
places where Sphinx reads them differently: types of attributes, the first colon of a property,
indented examples, and options that a `TypedDict` lists behind `**options`. It also leaves out names
that a user never types: sentinels of defaults, metadata of `Annotated`, pydantic's configuration.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final, get_args, get_type_hints

from pydantic import BaseModel
from sphinx.pycode import ModuleAnalyzer

import flowq
from flowq.authoring.definitions.queueing import QueueingOptions
from flowq.authoring.definitions.schedules import ScheduleOptions
from flowq.engine.runs.options import SubmitOptions

_TYPED: Final = re.compile(r"^ *:type: (.*)$")
_OPTIONS: Final = (QueueingOptions, ScheduleOptions, SubmitOptions)
_FIELD: Final = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*)$")
#: What a user never types, and what is shown instead.
_INTERNAL: Final = (
    (re.compile(r"~?(?:\w+\.)*Unset \| | \| ~?(?:\w+\.)*Unset\b"), ""),
    (re.compile(r"(?<== )UNSET\b|(?<== )<[^>]*>"), "..."),
    (re.compile(r"datetime\.(timedelta|datetime)\("), r"\1("),
    (re.compile(r"datetime\.timezone\.utc"), "UTC"),
    (re.compile(r"~?(?:\w+\.)*Unpack\[~?(?:\w+\.)*(\w+)\]"), r"\1"),
)
#: What the decorators return, with or without options; their signatures say Any.
_RETURNS: Final = {"flowq.step": "Step | StepMaker", "flowq.flow": "Flow | FlowMaker"}
_LONG_NAME: Final = re.compile(r"(?<![\w.~])((?:\w+\.)+(?:[A-Z]\w*|datetime|timedelta))\b")
#: Sphinx shows only the last part of a name after a tilde.
_SHORT: Final = r"~\1"


def _type_attributes(_app: Any, what: str, _name: str, _of: Any, _given: Any, lines: Any) -> None:
    """Put the type of each attribute into its signature; a property has no type in its text."""
    if what in {"property", "attribute", "data"}:
        _join_first_colon(lines)
        return
    mended: list[str] = []
    attribute = 0
    for line in lines:
        if line.startswith(".. attribute:: "):
            attribute = len(mended) + 1
        if attribute and (typed := _TYPED.match(line)):
            kind = re.sub(r"^(?:\w+\.)*ClassVar\[(.*)\]$", r"\1", _plain_annotation(typed[1]))
            mended.insert(attribute, f"   :type: {_LONG_NAME.sub(_SHORT, kind)}")
            attribute = 0
        else:
            mended.append(line)
    lines[:] = mended


def _join_first_colon(lines: Any) -> None:
    """Undo what napoleon makes of `Of a map: the items …`, which is no type and a text."""
    for number, line in enumerate(lines):
        if typed := _TYPED.match(line):
            del lines[number]
            lines[0] = f"{typed[1]}: {lines[0]}"
            return


def _list_options(_app: Any, _what: str, _name: str, of: Any, _given: Any, lines: Any) -> None:
    """Replace the line of `**options` by one for each of the options that may be given."""
    is_code = inspect.isfunction(of) or inspect.ismethod(of)
    for parameter in inspect.signature(of).parameters.values() if is_code else ():
        kind = next(iter(get_args(parameter.annotation)), None)
        if parameter.kind is not parameter.VAR_KEYWORD or kind not in _OPTIONS:
            continue
        begun = rf":param (\\\*\\\*)?{parameter.name}:"
        for number, line in enumerate(lines):
            if re.match(begun, line):
                after = number + 1
                while after < len(lines) and lines[after].startswith(" "):
                    after += 1
                lines[number:after] = list(_fields(kind))
                break


def _fields(kind: Any) -> Iterator[str]:
    """Yield the documented fields of a `TypedDict` as parameters."""
    text = inspect.getdoc(kind) or ""
    for line in text.partition("Attributes:")[2].splitlines():
        if named := _FIELD.match(line):
            yield from (f":param {name}: {named[2]}" for name in named[1].split(", "))
        elif line.strip():
            yield f"    {line.strip()}"


def _mark_examples(_app: Any, _what: str, _name: str, _of: Any, _given: Any, lines: Any) -> None:
    """Make the indented examples of a docstring Python blocks, before its sections begin."""
    for number in range(len(lines) - 1, 0, -1):
        is_first = lines[number].startswith("    ") and not lines[number - 1].strip()
        text_above = [line for line in lines[:number] if line and not line.startswith(" ")]
        if is_first and not (text_above and text_above[-1].startswith((":", ".."))):
            lines[number:number] = [".. code-block:: python", ""]


def _sign(_app: Any, *event: Any) -> tuple[str | None, str | None]:
    """Return the signature without internal names; none for a class that flowq makes itself."""
    what, name, of, options, given, returns = event
    if what == "class" and issubclass(of, BaseModel):
        # Members follow: without the metadata of `Annotated`, and with those of private bases.
        of.__annotations__ = _field_types(of)
    if what == "class" and "__init__" in (options.exclude_members or ()):
        return "", None
    for pattern, plain in _INTERNAL:
        given, returns = (text and pattern.sub(plain, text) for text in (given, returns))
    return given and _plain_annotation(given), _RETURNS.get(name, returns)


def _field_types(of: type[BaseModel]) -> dict[str, Any]:
    """Return the types of the fields of a model, without metadata at any depth."""

    def holder() -> None: ...

    holder.__annotations__ = {name: field.annotation for name, field in of.model_fields.items()}
    return get_type_hints(holder)


def _plain_annotation(text: str) -> str:
    """Return a text with `Annotated[int, Ge(1)]` as `int`."""
    while (found := re.search(r"~?(?:\w+\.)*Annotated\[", text)) is not None:
        depth, comma, end = 1, -1, found.end()
        while depth:
            depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(text[end], 0)
            comma = end if text[end] == "," and depth == 1 and comma < 0 else comma
            end += 1
        text = text[: found.start()] + text[found.end() : comma] + text[end:]
    return text


def _skip(_app: Any, _what: str, name: str, *_rest: Any) -> bool | None:
    """Leave out what a class has from pydantic."""
    return True if name in {"model_config", "model_post_init"} else None


def setup(app: Any) -> None:
    """Connect the hooks, and prepare the two decorators.

    `flowq.step` is an object that is called, and is shown as a function. The overloads of
    `flowq.flow` are for type checkers; readers see one signature.
    """
    flowq.step.__doc__ = type(flowq.step).__call__.__doc__
    source = ModuleAnalyzer.for_module(flowq.flow.__module__)
    source.analyze()
    del source.overloads["flow"]
    app.connect("autodoc-process-docstring", _type_attributes, priority=600)
    app.connect("autodoc-process-docstring", _list_options, priority=610)
    app.connect("autodoc-process-docstring", _mark_examples, priority=620)
    app.connect("autodoc-process-signature", _sign)
    app.connect("autodoc-skip-member", _skip)
