"""Renders the texts of a document with the names of an event.

A text that is only a path to a large result loads nothing. A text that needs what only the worker
has (a secret, the item of a map; in fields of a tool also blocks) becomes a `Deferred` with the
values of the other names that it uses.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.core.errors import StepError
from flowq.playbooks.control.commands import Deferred, Postponed
from flowq.playbooks.control.names import SECRET_NAMES, Scope
from flowq.playbooks.control.values import Collected, Lazy, existing, is_result, part, snapshot
from flowq.playbooks.document.models import Json, Tool
from flowq.tools.text import (
    MISSING,
    Function,
    InvalidTemplate,
    TemplateFailed,
    compile_expression,
    compile_text,
)

#: A text that is only a path: `{{ response.data.items }}`.
_PATH: Final = re.compile(r"\s*\{\{\s*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[-?\d+\])*)\s*\}\}\s*")
_PARTS: Final = re.compile(r"[A-Za-z_]\w*|-?\d+")
#: Fields that are no templates: code has braces of its own.
VERBATIM: Final[Mapping[str, frozenset[str]]] = {"python": frozenset(("code", "code_b64", "libs"))}
#: What a text raises that cannot be rendered.
UNRENDERABLE: Final = (StepError, InvalidTemplate)


@dataclass(frozen=True, slots=True)
class Fields:
    """How the fields of a tool are rendered.

    Attributes:
        later: Names that only the worker has, beside secrets.
    """

    later: tuple[str, ...] = ()


def rendered(value: Json, scope: Scope, *, fields: Fields | None = None) -> Json:
    """Render every text of some data.

    Args:
        value: JSON data.
        fields: How, when they are fields of a tool.

    Raises:
        TemplateFailed: a name is undefined, or something cannot be computed.
    """
    if isinstance(value, str):
        return _text(value, scope, fields)
    if isinstance(value, Mapping):
        return {key: rendered(item, scope, fields=fields) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rendered(item, scope, fields=fields) for item in value]
    return value


def rendered_tool(tool: Tool, scope: Scope, fields: Fields) -> Tool:
    """Render the fields of a tool, but for those that are no templates."""
    verbatim = VERBATIM.get(tool.kind, frozenset())
    config = {
        key: value if key in verbatim else rendered(value, scope, fields=fields)
        for key, value in tool.config.items()
    }
    return Tool(tool.kind, config)


def _text(source: str, scope: Scope, fields: Fields | None) -> Any:
    text = compile_text(source, blocks=fields is not None)
    if text.is_plain:
        return source
    later = (*SECRET_NAMES, *(fields.later if fields else ()))
    if (text.has_blocks and fields) or any(name in text.names for name in later):
        return _deferred(source, text.names, scope, later)
    path = _PATH.fullmatch(source)
    if path:
        found = large_at(path[1], scope)
        if found is not None:
            return snapshot(found)
    try:
        return snapshot(text.render(scope.pick(text.names)))
    except Postponed:
        return _deferred(source, text.names, scope, later)


def _deferred(source: str, names: frozenset[str], scope: Scope, later: tuple[str, ...]) -> Deferred:
    known = scope.pick(name for name in names if name not in later)
    given = {name: value for name, value in known.items() if not isinstance(value, Function)}
    results = tuple(name for name, value in given.items() if is_result(value))
    return Deferred(source, {name: snapshot(value) for name, value in given.items()}, results)


def large_at(path: str, scope: Scope) -> Lazy | Collected | None:
    """Return what stands at a path when it need not be loaded to be passed on."""
    root, *rest = _PARTS.findall(path)
    value = scope.get(root)
    for name in rest:
        value = part(value, int(name) if name.lstrip("-").isdecimal() else name)
    return value if isinstance(value, Lazy | Collected) else None


def at_path(source: Json, scope: Scope) -> Any:
    """Return what a `from` names: a path without delimiters, a template, or data.

    Returns:
        The value, or `MISSING` when a path leads nowhere.
    """
    if not isinstance(source, str) or "{{" in source:
        return rendered(source, scope)
    if _PATH.fullmatch(f"{{{{{source}}}}}"):
        found = large_at(source, scope)
        if found is not None:
            return snapshot(existing(found))
    text = compile_expression(source)
    try:
        return snapshot(text.render(scope.pick(text.names)))
    except TemplateFailed:
        return MISSING
