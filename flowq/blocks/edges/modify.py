"""The edge `modify`: copies, converts and edits content. Pure.

`content` is a template with placeholders. If it is missing and the edge has one input, the content
of that input is used.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from flowq.blocks.edges import structured, texts
from flowq.blocks.errors import Code, EdgeFailed
from flowq.blocks.placeholders import as_text, replaced, text

_Contents = dict[str, Any]


def modify(config: dict[str, Any], contents: _Contents) -> Any:
    """Return the content that an edge makes.

    Raises:
        EdgeFailed: its settings do not fit the contents.
    """
    return _TYPES[config["modify_type"]](config, contents)


def check(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with the settings of an edge."""
    kind = config.get("modify_type")
    if kind not in _TYPES:
        yield ("modify_type",), f"unknown modify_type {kind!r}; known are {', '.join(_TYPES)}"
    extra = config.get("extra_configs", {})
    if not isinstance(extra, Mapping):
        yield ("extra_configs",), "it is not an object"
        return
    operations = extra.get("operations", [])
    if not isinstance(operations, list):
        yield ("extra_configs", "operations"), "it is not a list"
        return
    for place, operation in enumerate(operations):
        at = ("extra_configs", "operations", place)
        if not isinstance(operation, Mapping):
            yield at, "it is not an object"
        elif not isinstance(operation.get("params", {}), Mapping):
            yield (*at, "params"), "it is not an object"


def _template(config: Mapping[str, Any], contents: _Contents) -> Any:
    if "content" not in config and len(contents) == 1:
        return next("{{" + label + "}}" for label in contents)
    return config.get("content", "")


def _extra(config: Mapping[str, Any]) -> Mapping[str, Any]:
    extra: Mapping[str, Any] = config.get("extra_configs") or {}
    return extra


def _copy(config: dict[str, Any], contents: _Contents) -> Any:
    return deepcopy(replaced(_template(config, contents), contents))


def _convert2text(config: dict[str, Any], contents: _Contents) -> str:
    content = replaced(_template(config, contents), contents)
    return json.dumps(content) if isinstance(content, dict | list) else str(content)


def _convert2structured(config: dict[str, Any], contents: _Contents) -> Any:
    content, extra = replaced(_template(config, contents), contents), _extra(config)
    mode = extra.get("conversion_mode", "wrap_into_dict")
    if mode not in _MODES:
        raise EdgeFailed(
            Code.CONVERSION, f"unknown conversion_mode {mode!r}; known are {', '.join(_MODES)}"
        )
    if not content or not isinstance(content, str):
        return {} if "dict" in mode else []
    return _MODES[mode](content, extra)


def _by_length(content: str, extra: Mapping[str, Any]) -> list[str]:
    length = extra.get("length_separator", 1000)
    if type(length) is not int or length <= 0:
        raise EdgeFailed(
            Code.CONVERSION, f"length_separator is {length!r}, not a positive whole number"
        )
    return texts.by_length(content, length)


def _by_characters(content: str, extra: Mapping[str, Any]) -> list[str]:
    separators = extra.get("list_separator", [","])
    if isinstance(separators, str):
        separators = [separators]
    if not isinstance(separators, list) or not all(isinstance(one, str) for one in separators):
        raise EdgeFailed(Code.CONVERSION, f"list_separator is {separators!r}, not a list of texts")
    return texts.by_characters(content, separators)


_MODES: Final[Mapping[str, Callable[[str, Mapping[str, Any]], Any]]] = {
    "wrap_into_dict": lambda content, extra: {str(extra.get("dict_key", "value")): content},
    "parse_as_json": lambda content, _: texts.as_json(content),
    "parse_as_list": lambda content, _: texts.as_list(content),
    "split_by_length": _by_length,
    "split_by_character": _by_characters,
}


def _edit_text(config: dict[str, Any], contents: _Contents) -> str:
    template, extra = _template(config, contents), _extra(config)
    content = text(template if isinstance(template, str) else as_text(template), contents)
    part = extra.get("slice", [0, -1])
    if not isinstance(part, list) or len(part) != 2 or any(type(one) is not int for one in part):
        raise EdgeFailed(Code.CONVERSION, f"slice is {part!r}, not two whole numbers")
    content = content[part[0] : None if part[1] == -1 else part[1]]
    order = extra.get("sort_type")
    if order in ("ascending", "descending"):
        return "".join(sorted(content, reverse=order == "descending"))
    return content


def _edit_structured(config: dict[str, Any], contents: _Contents) -> Any:
    template = _template(config, contents)
    if isinstance(template, str):
        # A document may give the data as text, and placeholders stand within that.
        given = texts.parsed(template)
        template = template if given is None else given
    data = replaced(template, contents)
    if isinstance(data, str):
        parsed = texts.parsed(data)
        data = data if parsed is None else parsed
    operations = [
        {**one, "params": _with_values(one.get("params") or {}, contents)}
        for one in _extra(config).get("operations", [])
    ]
    return structured.apply(data, operations)


def _with_values(params: Mapping[str, Any], contents: _Contents) -> dict[str, Any]:
    """Return parameters with contents in place of the placeholders of their values."""
    return {
        name: replaced(value, contents, escape=True) if name.startswith("value") else value
        for name, value in params.items()
    }


_TYPES: Final[Mapping[str, Callable[[dict[str, Any], _Contents], Any]]] = {
    "copy": _copy,
    "convert2text": _convert2text,
    "convert2structured": _convert2structured,
    "edit_text": _edit_text,
    "edit_structured": _edit_structured,
}
