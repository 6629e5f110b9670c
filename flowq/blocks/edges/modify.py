"""The edge `modify`: copies, converts and edits content. Pure.

`content` is a template with placeholders. If it is missing and the edge has one input, the content
of that input is used.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import Field, PositiveInt

from flowq.blocks.edges import structured, texts
from flowq.blocks.edges.settings import (
    EdgeSettings,
    Flaw,
    Settings,
    Texts,
    flaws,
    foreign_labels,
    of,
    own,
    unknown_name,
)
from flowq.blocks.errors import Code, EdgeFailed
from flowq.blocks.placeholders import as_text, replaced, text

_Contents = dict[str, Any]
_ORDERS: Final = ("ascending", "descending")


def modify(config: dict[str, Any], contents: _Contents) -> Any:
    """Return the content that an edge makes.

    Raises:
        EdgeFailed: its settings do not fit the contents.
    """
    return _TYPES[config["modify_type"]](config, contents)


class _Edge(EdgeSettings):
    modify_type: str
    content: Any = None


class Nothing(Settings):
    """`copy` and `convert2text` have no further settings."""


class Mode(Settings):
    """Settings of `convert2structured`: the mode; each has its own beside it."""

    conversion_mode: str = "wrap_into_dict"


class WrapIntoDict(Mode):
    """Settings of the mode `wrap_into_dict`."""

    dict_key: str = "value"


class SplitByLength(Mode):
    """Settings of the mode `split_by_length`, in characters."""

    length_separator: PositiveInt = 1000


class SplitByCharacter(Mode):
    """Settings of the mode `split_by_character`: a text, or a list of them."""

    list_separator: Texts = Field([","])


class EditText(Settings):
    """Settings of `edit_text`.

    Attributes:
        slice: The first character, and the one after the last; -1 is the end of the text.
        sort_type: How the characters are sorted: `ascending`, `descending`, or not.
    """

    slice: list[int] = Field([0, -1], min_length=2, max_length=2)
    sort_type: Any = None


class EditStructured(Settings):
    """Settings of `edit_structured`."""

    operations: Any = Field([])


def check(config: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the settings of an edge."""
    yield from flaws(_Edge, own(config))
    kind, extra = config.get("modify_type"), config.get("extra_configs") or {}
    labels = config["inputs"].values()
    if not isinstance(kind, str):
        return
    if kind not in _TYPES:
        yield Flaw(("modify_type",), unknown_name("modify_type", kind, _TYPES))
        return
    yield from foreign_labels(_read_template(kind, config.get("content")), labels, ("content",))
    at = ("extra_configs",)
    if not isinstance(extra, Mapping):
        yield Flaw(at, "it is not an object")
        return
    model = MODELS[kind]
    if kind == "convert2structured":
        mode = extra.get("conversion_mode", "wrap_into_dict")
        if isinstance(mode, str) and mode not in MODES:
            yield Flaw((*at, "conversion_mode"), unknown_name("conversion_mode", mode, MODES))
            return
        model = MODES[mode][0] if isinstance(mode, str) else Mode
    yield from flaws(model, extra, at)
    if kind == "edit_text" and extra.get("sort_type") not in (None, "", *_ORDERS):
        text = unknown_name("sort_type", extra["sort_type"], _ORDERS)
        yield Flaw((*at, "sort_type"), f"{text}; it is ignored", warns=True)
    if kind == "edit_structured":
        operations = extra.get("operations", [])
        yield from structured.check(operations, labels, (*at, "operations"))


def _read_template(kind: str, template: Any) -> Any:
    """Return the setting `content` as placeholders are replaced in it."""
    if kind == "edit_structured" and isinstance(template, str):
        # A document may give the data as text, with placeholders in it.
        given = texts.parsed(template)
        return template if given is None else given
    if kind == "edit_text" and template is not None and not isinstance(template, str):
        return as_text(template)
    return template


def _template(config: Mapping[str, Any], contents: _Contents) -> Any:
    if "content" not in config and len(contents) == 1:
        return next("{{" + label + "}}" for label in contents)
    return _read_template(config["modify_type"], config.get("content", ""))


def _copy(config: dict[str, Any], contents: _Contents) -> Any:
    return replaced(_template(config, contents), contents)


def _convert2text(config: dict[str, Any], contents: _Contents) -> str:
    content = replaced(_template(config, contents), contents)
    return json.dumps(content) if isinstance(content, dict | list) else str(content)


def _convert2structured(config: dict[str, Any], contents: _Contents) -> Any:
    content, extra = replaced(_template(config, contents), contents), config.get("extra_configs")
    mode = of(Mode, extra).conversion_mode
    if mode not in MODES:
        raise EdgeFailed(Code.CONVERSION, unknown_name("conversion_mode", mode, MODES))
    model, convert = MODES[mode]
    given = of(model, extra)
    if not content or not isinstance(content, str):
        return {} if "dict" in mode else []
    return convert(content, given)


#: From the name of a mode to its settings and its function.
MODES: Final[Mapping[str, tuple[type[Mode], Callable[[str, Any], Any]]]] = {
    "wrap_into_dict": (WrapIntoDict, lambda content, given: {given.dict_key: content}),
    "parse_as_json": (Mode, lambda content, _: texts.as_json(content)),
    "parse_as_list": (Mode, lambda content, _: texts.as_list(content)),
    "split_by_length": (
        SplitByLength,
        lambda content, given: texts.by_length(content, given.length_separator),
    ),
    "split_by_character": (
        SplitByCharacter,
        lambda content, given: texts.by_characters(content, given.list_separator),
    ),
}


def _edit_text(config: dict[str, Any], contents: _Contents) -> str:
    template, given = _template(config, contents), of(EditText, config.get("extra_configs"))
    content = text(template if isinstance(template, str) else as_text(template), contents)
    first, end = given.slice
    content = content[first : None if end == -1 else end]
    if given.sort_type in _ORDERS:
        return "".join(sorted(content, reverse=given.sort_type == "descending"))
    return content


def _edit_structured(config: dict[str, Any], contents: _Contents) -> Any:
    data = replaced(_template(config, contents), contents)
    if isinstance(data, str):
        parsed = texts.parsed(data)
        data = data if parsed is None else parsed
    operations = [
        {**one, "params": _with_values(one.get("params") or {}, contents)}
        for one in of(EditStructured, config.get("extra_configs")).operations
    ]
    return structured.apply(data, operations)


def _with_values(params: Mapping[str, Any], contents: _Contents) -> dict[str, Any]:
    """Return parameters with contents in place of the placeholders of their values."""
    return {
        name: replaced(value, contents, escape=True) if name.startswith(structured.VALUE) else value
        for name, value in params.items()
    }


_TYPES: Final[Mapping[str, Callable[[dict[str, Any], _Contents], Any]]] = {
    "copy": _copy,
    "convert2text": _convert2text,
    "convert2structured": _convert2structured,
    "edit_text": _edit_text,
    "edit_structured": _edit_structured,
}
#: Settings in `extra_configs`; those of `convert2structured` depend on its mode.
MODELS: Final[Mapping[str, type[Settings]]] = {
    "copy": Nothing,
    "convert2text": Nothing,
    "convert2structured": Mode,
    "edit_text": EditText,
    "edit_structured": EditStructured,
}
