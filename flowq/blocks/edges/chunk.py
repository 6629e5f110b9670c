"""The edge `chunk`: cuts a text into a list of texts. Pure.

    auto        at paragraphs, lines, sentences, words; chunks overlap
    simple      after each sentence and line
    length      after so many characters, or at the word before
    character   at given characters, which are left out

Without an overlap the chunks of `auto` and `simple`, put together again, are the text.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from flowq.blocks.errors import Code, EdgeFailed
from flowq.blocks.placeholders import as_text

_SEPARATORS: Final = ("\n\n", "\n", ". ", ", ", " ")
#: Where a sentence ends, in scripts of the world, or a line.
_ENDS: Final = re.compile(r"[.!?。！？۔؟।።၊။།]|(?:\r?\n)+")  # noqa: RUF001
_WORD_ENDS: Final = frozenset(" .,;:?!~\n\t")


def chunk(config: dict[str, Any], contents: dict[str, Any]) -> list[str]:
    """Return the chunks of the content of an edge's one input.

    Raises:
        EdgeFailed: a setting is none that can be used.
    """
    content = next(iter(contents.values()))
    if isinstance(content, list) and config["chunking_mode"] != "character":
        return [as_text(item) for item in content]
    extra = config.get("extra_configs") or {}
    return _MODES[config["chunking_mode"]](as_text(content), extra)


def check(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with the settings of an edge."""
    if len(config["inputs"]) != 1:
        yield ("inputs",), "it cuts the content of one block, and has another number of inputs"
    if not isinstance(config.get("extra_configs", {}), Mapping):
        yield ("extra_configs",), "it is not an object"
    mode, sub = config.get("chunking_mode"), config.get("sub_chunking_mode")
    if mode == "length" and sub not in (None, "", "size"):
        yield ("sub_chunking_mode",), f"{sub!r} is not available here: size is"


def _whole(extra: Mapping[str, Any], name: str, default: int, least: int) -> int:
    value = extra.get(name, default)
    if type(value) is not int or value < least:
        raise EdgeFailed(
            Code.CONVERSION, f"{name} is {value!r}, not a whole number from {least} on"
        )
    return value


def _texts(extra: Mapping[str, Any], name: str, default: tuple[str, ...]) -> list[str]:
    value = extra.get(name, list(default))
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise EdgeFailed(Code.CONVERSION, f"{name} is {value!r}, not a list of texts")
    return value


def _auto(content: str, extra: Mapping[str, Any]) -> list[str]:
    size = _whole(extra, "chunk_size", 1000, 1)
    # Both names are in use.
    overlap = _whole(extra, "chunk_overlap" if "chunk_overlap" in extra else "overlap", 200, 0)
    if overlap >= size:
        raise EdgeFailed(Code.CONVERSION, f"the overlap {overlap} is not below chunk_size {size}")
    separators = _texts(extra, "separators", _SEPARATORS)
    return _overlapping(list(_packed(content, separators, size - overlap)), overlap)


def _packed(content: str, separators: list[str], size: int) -> Iterator[str]:
    """Yield the longest parts of a text of at most `size` characters, cut after separators."""
    held = ""
    for part in _parts(content, separators, size):
        if held and len(held) + len(part) > size:
            yield held
            held = ""
        held += part
    if held:
        yield held


def _parts(content: str, separators: list[str], size: int) -> Iterator[str]:
    """Yield parts of a text of at most `size` characters, cut after the first separators."""
    if len(content) <= size:
        yield content
    elif not separators:
        yield from (content[start : start + size] for start in range(0, len(content), size))
    else:
        ends = [found.end() for found in re.finditer(re.escape(separators[0]), content)]
        for start, end in pairwise([0, *ends, len(content)]):
            if start < end:
                yield from _parts(content[start:end], separators[1:], size)


def _overlapping(chunks: list[str], overlap: int) -> list[str]:
    """Return chunks each of which begins with the end of the one before it."""
    if not overlap:
        return chunks
    return [*chunks[:1], *(before[-overlap:] + after for before, after in pairwise(chunks))]


def _simple(content: str, _extra: Mapping[str, Any]) -> list[str]:
    ends = [found.end() for found in _ENDS.finditer(content)]
    return [content[a:b] for a, b in pairwise([0, *ends, len(content)]) if a < b]


def _length(content: str, extra: Mapping[str, Any]) -> list[str]:
    size = _whole(extra, "chunk_size", 100, 1)
    overlap = _whole(extra, "overlap", 0, 0)
    at_words = bool(extra.get("handle_half_word"))
    chunks, start = [], 0
    while start < len(content):
        end = min(start + size, len(content))
        if at_words and end < len(content) and content[end - 1] not in _WORD_ENDS:
            cuts = [place for place in range(start, end) if content[place] in _WORD_ENDS]
            end = cuts[-1] + 1 if cuts else end
        chunks.append(content[max(0, start - overlap) : end].strip())
        start = end
    return [one for one in chunks if one]


def _character(content: str, extra: Mapping[str, Any]) -> list[str]:
    delimiters = _texts(extra, "delimiters", (",", ";"))
    parts = re.split("|".join(map(re.escape, delimiters)), content) if delimiters else [content]
    return [part.strip() for part in parts if part.strip()]


_MODES: Final[Mapping[str, Callable[[str, Mapping[str, Any]], list[str]]]] = {
    "auto": _auto,
    "simple": _simple,
    "length": _length,
    "character": _character,
}
