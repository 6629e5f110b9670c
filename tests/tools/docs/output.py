"""Compares what a page shows with what a command prints.

`…` stands for any text, and alone on a line for any lines. Run ids are names: the page's stands for
the real one from where it is first shown. Durations, dates, percentages of progress and what else
is of one run may differ, as may the width of a table's columns.

A terminal shows standard output and standard error in an order that chance decides. So each shown
line is the next one of either. All of standard output has to be shown, progress and warnings need
not be.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from typing import Any, Final

_DURATION: Final = r"\d[\d.,]*\ ?(?:ms|µs|s|min|h|d)\b"
#: Characters of an id that no other run has: the time in ms, and twelve random bits.
_UNIQUE: Final = 18
#: A run id, perhaps shortened. Those of our time begin with 01.
_ID: Final = (
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){1,3}(?:-[0-9a-f]{1,12})?\b"
    r"|\b01[0-9a-f]{6}\b|\b01[0-9a-f]{2,}(?=…)"
)
_REAL_ID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4,12})*"
#: What may differ, by the group that finds it on a page, and what it may be instead.
_FREE: Final = {
    "any": ("…", ".*?"),
    "id": (_ID, f"({_REAL_ID})"),
    "digest": (r"\b(?:[0-9a-f]{64}|[0-9a-f]{32})\b", "[0-9a-f]+"),
    "date": (
        r"\b\d{4}-\d\d-\d\d(?:[T\ ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:Z|[+-]\d\d:\d\d)?(?!\d)",
        r"\d{4}-\d\d-\d\d(?:[T\ ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:Z|[+-]\d\d:\d\d)?",
    ),
    "clock": (r"\b\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?\b", r"\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?"),
    "took": (rf"{_DURATION}(?:\ {_DURATION})*", rf"{_DURATION}(?:\ {_DURATION})*"),
    "field": (r"_(?:ms|seconds)['\"]?:\ ?\d[\d.]*", r"_(?:ms|seconds)['\"]?:\ ?\d[\d.e-]*"),
    "percent": (r"\d+(?:\.\d+)?\ ?%", r"\d+(?:\.\d+)?\ ?%"),
    "pid": (r"\bpid\ \d+", r"pid\ \d+"),
    "worker": (r"celery@[\w.-]+", r"celery@[\w.-]+"),
    "rule": (r"[─━═]{3,}", "[─━═]+"),
    "space": (r"\s+", r"\s+"),
}
_TOKEN: Final = re.compile("|".join(f"(?P<{name}>{page})" for name, (page, _) in _FREE.items()))


@dataclass
class Names:
    """The ids of a page, and what they stand for."""

    real: dict[str, str] = field(default_factory=dict)

    def of(self, shown: str) -> str | None:
        """Return the real id of one of the page, which may be shortened; None if it is unknown."""
        found = self._candidates(shown)
        return found[-1] if found else None

    def bind(self, shown: str, real: str) -> str | None:
        """Let an id of the page stand for a real one; return what is wrong with that."""
        found = self._candidates(shown)
        if any(known.startswith(real) for known in found):
            return None
        wrong = [known for known in found if not real.startswith(known)]
        if wrong and (shown in self.real or len(shown) >= _UNIQUE):
            return f"the id {shown} of the page is {wrong[-1]} before, and {real} here"
        self.real[shown] = real
        return None

    def _candidates(self, shown: str) -> list[str]:
        """Return the real ids that one of the page may stand for, the latest last."""
        if shown in self.real:
            return [self.real[shown]]
        return [
            real
            for page, real in self.real.items()
            if page.startswith(shown) or (len(page) >= _UNIQUE and shown.startswith(page))
        ]

    def put_in(self, text: str) -> str:
        """Return a text of the page with the real ids in place of its own."""

        def real(found: re.Match[str]) -> str:
            return self.of(found[0].rstrip("…")) or found[0]

        return re.sub(rf"(?:{_ID})…?", real, text)


def pattern(line: str) -> tuple[re.Pattern[str], list[str]]:
    """Return what a line has to match, and the ids of the page for its groups."""
    parts, ids, at = [], [], 0
    for found in _TOKEN.finditer(line):
        kind = found.lastgroup
        assert kind is not None
        parts += [re.escape(line[at : found.start()]), _FREE[kind][1]]
        ids += [found[0]] if kind == "id" else []
        at = found.end()
    return re.compile("".join([*parts, re.escape(line[at:])])), ids


def difference(
    expected: Sequence[str], out: str, err: str, names: Names, *, beginning: bool = False
) -> str | None:
    """Return how a command's output differs from the page's; None if it does not.

    Args:
        expected: The lines of the page.
        out: What the command has printed to standard output.
        err: What it has printed to standard error.
        names: The ids so far; those of this output are added.
        beginning: Whether the command goes on and may print more.
    """
    shown, printed, said = _lines(expected), _lines(out.splitlines()), _lines(err.splitlines())
    search = _Search([_Shown(line) for line in shown], (printed, said), beginning=beginning)
    pairs = search.find()
    if pairs is None:
        reached = shown[search.furthest] if search.furthest < len(shown) else "the end"
        diff = unified_diff(shown, [*said, *printed], "the page", "the command", lineterm="", n=99)
        return "\n".join([f"the output has not, in its place: {reached}", *diff])
    for line, real in pairs:
        matched = line.regex.fullmatch(real)
        assert matched
        for page, found in zip(line.ids, matched.groups(), strict=True):
            if wrong := names.bind(page, found):
                return wrong
    return None


def _lines(lines: Sequence[str]) -> list[str]:
    """Return lines without the spaces at their ends, and without those that are empty."""
    return [line.strip() for line in lines if line.strip()]


class _Shown:
    """A line of the page."""

    def __init__(self, line: str) -> None:
        self.is_any = line == "…"
        self.regex, self.ids = pattern(line)


#: Pairs that were found, the last one first; each state has its own.
_Pairs = tuple[Any, tuple[_Shown, str]] | None


class _Search:
    """Looks for an order of the lines of both streams in which they are what the page shows."""

    def __init__(
        self, shown: list[_Shown], streams: tuple[list[str], list[str]], *, beginning: bool
    ) -> None:
        self.shown = shown
        self.out, self.err = streams
        self.beginning = beginning
        self.furthest = 0  #: The first line of the page that no order has.

    def find(self) -> list[tuple[_Shown, str]] | None:
        """Return the lines of the page with those that they are; None if there is no order."""
        todo: list[tuple[int, int, int, _Pairs]] = [(0, 0, 0, None)]
        seen = set()
        while todo:
            at, out, err, pairs = todo.pop()
            if (at, out, err) in seen:
                continue
            seen.add((at, out, err))
            self.furthest = max(self.furthest, at)
            if at == len(self.shown) and (self.beginning or out == len(self.out)):
                return _unrolled(pairs)
            todo += self._next(at, out, err, pairs)
        return None

    def _next(self, at: int, out: int, err: int, pairs: _Pairs) -> list[Any]:
        """Return what may follow, the best last."""
        line = self.shown[at] if at < len(self.shown) else None
        more_out, more_err = out < len(self.out), err < len(self.err)
        found: list[Any] = []
        if more_err:
            found.append((at, out, err + 1, pairs))
        if line is None:
            return found
        if line.is_any:
            if more_out:
                found.append((at, out + 1, err, pairs))
            return [*found, (at + 1, out, err, pairs)]
        if more_err and line.regex.fullmatch(self.err[err]):
            found.append((at + 1, out, err + 1, (pairs, (line, self.err[err]))))
        if more_out and line.regex.fullmatch(self.out[out]):
            found.append((at + 1, out + 1, err, (pairs, (line, self.out[out]))))
        return found


def _unrolled(pairs: _Pairs) -> list[tuple[_Shown, str]]:
    found = []
    while pairs is not None:
        pairs, last = pairs
        found.append(last)
    return found[::-1]
