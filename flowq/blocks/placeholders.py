"""Placeholders: `{{label}}` in a setting of an edge is replaced by the content of an input block.

A text that is exactly one placeholder becomes the content, with its type. In a longer text the
content is written as text (`as_text`). Labels are those of the inputs of the same edge, without
spaces at their ends.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flowq.blocks.errors import Code, EdgeFailed

#: A label has no braces; so each is looked for once, however many a text has.
PLACEHOLDER: Final = re.compile(r"\{\{([^{}]*)\}\}")
#: Characters of a text that placeholders have made, at most.
MOST: Final = 64 * 1024 * 1024
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", "\t": r"\t", '"': r"\"", "'": r"\'"})


def as_text(content: Any) -> str:
    """Return content as text: lists and dicts as JSON, the rest as Python writes it."""
    if isinstance(content, dict | list):
        return json.dumps(content, ensure_ascii=False)
    return str(content)


def replaced(value: Any, contents: Mapping[str, Any], *, escape: bool = False) -> Any:
    """Return a setting with contents in place of its placeholders, at any depth.

    Args:
        value: Text, or lists and dicts with text in them.
        contents: Of the input blocks, by label.
        escape: Write line ends, tabs, quotes and backslashes of a content within a longer text so
            that they do not end what that is part of.

    Raises:
        EdgeFailed: no input has the label, or the text becomes too long.
    """
    if isinstance(value, str):
        whole = PLACEHOLDER.fullmatch(value)
        if whole is not None:
            return _content(whole[1], contents)
        return text(value, contents, escape=escape)
    if isinstance(value, list):
        return [replaced(item, contents, escape=escape) for item in value]
    if isinstance(value, dict):
        return {key: replaced(item, contents, escape=escape) for key, item in value.items()}
    return value


def labels_in(
    value: Any, place: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the labels of the placeholders that `replaced` would replace, each with its place."""
    if isinstance(value, str):
        yield from ((place, found[1].strip()) for found in PLACEHOLDER.finditer(value))
    elif isinstance(value, list | dict):
        parts = enumerate(value) if isinstance(value, list) else value.items()
        for key, item in parts:
            yield from labels_in(item, (*place, key))


def text(template: str, contents: Mapping[str, Any], *, escape: bool = False) -> str:
    """Return a template as text, whatever it consists of; as `replaced`."""
    parts, end, size = [], 0, len(template)
    for found in PLACEHOLDER.finditer(template):
        content = as_text(_content(found[1], contents))
        if escape:
            content = content.translate(_ESCAPES)
        size += len(content)
        if size > MOST:
            raise EdgeFailed(
                Code.LIMIT, f"a text with its placeholders replaced has over {MOST:,} characters"
            )
        parts += [template[end : found.start()], content]
        end = found.end()
    return "".join([*parts, template[end:]])


def _content(label: str, contents: Mapping[str, Any]) -> Any:
    name = label.strip()
    if name not in contents:
        known = ", ".join(map(repr, contents)) or "none"
        raise EdgeFailed(
            Code.CONVERSION, f"Block {name} not found: the inputs of this edge are {known}"
        )
    return contents[name]
