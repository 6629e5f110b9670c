"""The prose of a page: its sentences, with their lines.

A page is Markdown. Blocks of code, generated parts, comments and directives are not prose. Inline
code counts as one word, a link as its text. A paragraph and an item of a list are prose of which
the length can be measured; a title and a cell of a table are short by nature, so they are searched
for words, and not counted in an average.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_FENCE: Final = re.compile(r"^ *(`{3,}|:{3,})")
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_GENERATED: Final = re.compile(r"<!-- generated: .*?<!-- end -->", re.DOTALL)
_CODE: Final = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_PICTURE: Final = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_EMPHASIS: Final = re.compile(r"(?<![*\w])\*([^*]+)\*(?![*\w])")
_ITEM: Final = re.compile(r"^ *(?:[-*]|\d+\.) +")
#: A sentence ends with a mark, perhaps a closing one, and a space before what can begin one.
_END: Final = re.compile(r"(?<=[.!?])[)*\"']*\s+(?=[(*\"'A-Z0-9«]|flowq\b)")
_ABBREVIATION: Final = re.compile(r"\b(?:e\.g|i\.e|etc|vs)\.$")
_WORD: Final = re.compile(r"[\w«][\w«».,:'/%+$-]*")
#: What inline code is replaced with: it begins with a capital, as a sentence may begin with code.
CODE: Final = "«C»"


@dataclass(frozen=True)
class Sentence:
    """A sentence of a page; `line` is where its paragraph begins."""

    line: int
    text: str
    is_measured: bool = True

    @property
    def words(self) -> int:
        """How many words it has; inline code is one."""
        return len(_WORD.findall(self.text))


def sentences(page: str) -> Iterator[Sentence]:
    """Yield the sentences of a page in Markdown, with those of titles and cells of tables."""
    for line, text, is_measured in _paragraphs(_without_comments(page)):
        for sentence in _split(text):
            yield Sentence(line, sentence, is_measured)


def _without_comments(page: str) -> str:
    """Blank what is generated or a comment, and keep the numbers of the lines."""
    for pattern in (_GENERATED, _COMMENT):
        page = pattern.sub(lambda found: "\n" * found[0].count("\n"), page)
    return page


def _paragraphs(page: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the line, the text, and whether it is a paragraph or an item of a list."""
    begun, lines = 0, list[str]()
    fence = ""
    for number, line in enumerate([*page.splitlines(), ""], start=1):
        opened = _FENCE.match(line)
        is_break = bool(fence or opened or not line.strip() or line.startswith(("#", "|", ">>>")))
        if (is_break or _ITEM.match(line)) and lines:
            yield begun, _plain(" ".join(lines)), True
            lines = []
        if opened and (not fence or opened[1] == fence):
            fence = "" if fence else opened[1]
        elif not is_break:
            begun = begun if lines else number
            lines.append(_ITEM.sub("", line).strip())
        elif not fence and line.startswith("|"):
            yield from ((number, _plain(cell), False) for cell in _cells(line))
        elif not fence and line.startswith("#"):
            yield number, _plain(line.lstrip("# ")), False


def _cells(row: str) -> Iterator[str]:
    """Yield the cells of a row of a table that are not empty, without those of the line below."""
    coded = _CODE.sub(CODE, row)
    for cell in re.split(r"(?<!\\)\|", coded):
        if re.search(r"\w", cell):
            yield cell.strip()


def _plain(text: str) -> str:
    """Return the text without marks of Markdown, with a placeholder for each piece of code."""
    text = _PICTURE.sub("", _CODE.sub(CODE, text))
    text = _EMPHASIS.sub(r"\1", text)
    return _LINK.sub(r"\1", text).replace("**", "").strip()


def _split(text: str) -> Iterator[str]:
    begun = 0
    for end in _END.finditer(text):
        if not _ABBREVIATION.search(text[begun : end.start()]):
            yield text[begun : end.start()].strip()
            begun = end.end()
    if text[begun:].strip():
        yield text[begun:].strip()
