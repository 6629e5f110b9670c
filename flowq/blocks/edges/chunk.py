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
from typing import Any, Final, Literal, Self

from pydantic import AliasChoices, Field, NonNegativeInt, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from flowq.blocks.edges.settings import EdgeSettings, Flaw, Separators, Settings, flaws, of, own
from flowq.blocks.placeholders import as_text

#: Where a sentence ends, in scripts of the world, or a line.
_ENDS: Final = re.compile(r"[.!?。！？۔؟।።၊။།]|(?:\r?\n)+")  # noqa: RUF001
_WORD_ENDS: Final = frozenset(" .,;:?!~\n\t")


class _Edge(EdgeSettings):
    chunking_mode: str
    sub_chunking_mode: Literal["size", ""] | None = None


class Auto(Settings):
    """Settings of the mode `auto`, in characters."""

    chunk_size: PositiveInt = 1000
    overlap: NonNegativeInt = Field(200, validation_alias=AliasChoices("chunk_overlap", "overlap"))
    separators: Separators = Field(["\n\n", "\n", ". ", ", ", " "])

    @model_validator(mode="after")
    def _advances(self) -> Self:
        if self.overlap >= self.chunk_size:
            text = f"the overlap {self.overlap} is not below chunk_size {self.chunk_size}"
            raise PydanticCustomError("overlap", "{text}", {"text": text})
        return self


class Simple(Settings):
    """The mode `simple` has no settings."""


class Length(Settings):
    """Settings of the mode `length`, in characters."""

    chunk_size: PositiveInt = 100
    overlap: NonNegativeInt = 0
    handle_half_word: bool = False


class Character(Settings):
    """Settings of the mode `character`."""

    delimiters: Separators = Field([",", ";"])


def chunk(config: dict[str, Any], contents: dict[str, Any]) -> list[str]:
    """Return the chunks of the content of an edge's one input.

    Raises:
        EdgeFailed: a setting is none that can be used.
    """
    content = next(iter(contents.values()))
    if isinstance(content, list) and config["chunking_mode"] != "character":
        return [as_text(item) for item in content]
    model, cut = MODES[config["chunking_mode"]]
    return cut(as_text(content), of(model, config.get("extra_configs")))


def check(config: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the settings of an edge."""
    if len(config["inputs"]) != 1:
        text = "it cuts the content of one block, and has another number of inputs"
        yield Flaw(("inputs",), text)
    yield from flaws(_Edge, own(config))
    model, _ = MODES[config["chunking_mode"]]
    yield from flaws(model, config.get("extra_configs") or {}, ("extra_configs",))


def _auto(content: str, given: Auto) -> list[str]:
    size, overlap = given.chunk_size, given.overlap
    return _overlapping(list(_packed(content, given.separators, size - overlap)), overlap)


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


def _simple(content: str, _given: Simple) -> list[str]:
    ends = [found.end() for found in _ENDS.finditer(content)]
    return [content[a:b] for a, b in pairwise([0, *ends, len(content)]) if a < b]


def _length(content: str, given: Length) -> list[str]:
    chunks, start = [], 0
    while start < len(content):
        end = min(start + given.chunk_size, len(content))
        if given.handle_half_word and end < len(content) and content[end - 1] not in _WORD_ENDS:
            cuts = [place for place in range(start, end) if content[place] in _WORD_ENDS]
            end = cuts[-1] + 1 if cuts else end
        chunks.append(content[max(0, start - given.overlap) : end].strip())
        start = end
    return [one for one in chunks if one]


def _character(content: str, given: Character) -> list[str]:
    ends = "|".join(map(re.escape, given.delimiters))
    parts = re.split(ends, content) if ends else [content]
    return [part.strip() for part in parts if part.strip()]


#: From the name of a mode to its settings and its function.
MODES: Final[Mapping[str, tuple[type[Settings], Callable[[str, Any], list[str]]]]] = {
    "auto": (Auto, _auto),
    "simple": (Simple, _simple),
    "length": (Length, _length),
    "character": (Character, _character),
}
