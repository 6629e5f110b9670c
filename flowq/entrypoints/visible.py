r"""Text of others on a terminal and in a log: what would act on the reader is shown instead.

Errors, inputs, answers of models and titles of feeds are anybody's text. An escape sequence in
them can clear a screen or write to a clipboard, a line break can forge a line, a bidirectional
override can turn a sentence round. The console of the CLI and the formatters of logs pass all text
through `visible`, so that nothing that is printed can forget it. Control characters become their
pictures (␛), all else that acts without being seen its code (\u202e). JSON has its own escapes.
"""

import json
import logging
from collections.abc import Iterator
from typing import Any, Final

#: What acts without being seen, beside control characters and surrogates: line and paragraph
#: separators, marks and overrides of direction, invisible characters, tags. Joiners are left alone:
#: words of some scripts, and emoji, need them.
_UNSEEN: Final = (
    *(0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070)),
    *(0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)),
)


def _pictures() -> Iterator[tuple[int, str]]:
    yield from ((code, chr(0x2400 + code)) for code in range(0x20) if code != 0x09)
    yield 0x7F, "\N{SYMBOL FOR DELETE}"
    yield from ((code, f"\\x{code:02x}") for code in range(0x80, 0xA0))
    yield from ((code, _code(code)) for code in (*_UNSEEN, *range(0xD800, 0xE000)))


def _code(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape(code: int) -> str:
    """Return a character as JSON escapes it; what Python's does not, too."""
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(chr(code))[1:-1]


_IN_LINE: Final = dict(_pictures())
_IN_LINES: Final = {code: shown for code, shown in _IN_LINE.items() if code != 0x0A}
_IN_JSON: Final = {code: _escape(code) for code in _IN_LINE if code >= 0x20}


def visible(text: str, *, lines: bool = False) -> str:
    """Return a text with all that would act on a terminal or its reader shown instead.

    Args:
        text: Anybody's.
        lines: Whether line breaks are left; else they are shown too.
    """
    if text.isprintable():
        return text
    return text.translate(_IN_LINES if lines else _IN_LINE)


def json_text(data: Any, *, indent: int | None = None) -> str:
    """Return plain data as JSON that can be printed: readable, and no character in it acts."""
    return visible_json(json.dumps(data, indent=indent, ensure_ascii=False))


def visible_json(text: str) -> str:
    """Return a JSON document with the characters escaped that would act; it means the same."""
    return text.translate(_IN_JSON)


class VisibleFormatter(logging.Formatter):
    """Shows in records what would act, and leaves their look to another formatter.

    Line breaks are left, and what follows one is indented: no record can forge another.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        shown = logging.makeLogRecord(record.__dict__)  # others may show this one in their way
        shown.msg, shown.args = _indented(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            shown.exc_text = self.inner.formatException(record.exc_info)
        shown.exc_text = _indented(shown.exc_text) if shown.exc_text else None
        shown.stack_info = _indented(record.stack_info) if record.stack_info else None
        return self.inner.format(shown)


def guard(handlers: list[logging.Handler]) -> None:
    """Let handlers of logs show what would act; safe to call twice."""
    for handler in handlers:
        inner = handler.formatter or logging.Formatter()
        if not isinstance(inner, VisibleFormatter):
            handler.setFormatter(VisibleFormatter(inner))


def _indented(text: str) -> str:
    return visible(text, lines=True).replace("\n", "\n  ")
