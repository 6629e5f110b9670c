"""Escapes control characters of foreign text on terminals, in printed JSON and in logs.

The console of the CLI and the formatters of logs pass all text through `core.text.escaping`, so
that no output can omit it. JSON has its own escapes.
"""

import json
import logging
from typing import Any, Final

from flowq.core.text.escaping import SHOWN, escaped

__all__ = ["EscapingFormatter", "escaped", "escaped_json", "guard", "json_text"]


def _escape(code: int) -> str:
    """Return a character as a JSON escape, also if Python's encoder does not escape it."""
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(chr(code))[1:-1]


_IN_JSON: Final = {code: _escape(code) for code in SHOWN if code >= 0x20}


def json_text(data: Any, *, indent: int | None = None) -> str:
    """Return plain data as readable JSON without control characters."""
    return escaped_json(json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False))


def escaped_json(text: str) -> str:
    """Return an equal JSON document with all control characters escaped."""
    return text.translate(_IN_JSON)


class EscapingFormatter(logging.Formatter):
    """Escapes control characters of log records that another formatter has formatted.

    Line breaks stay, and the lines after them are indented, so that no record can imitate another.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        shown = logging.makeLogRecord(record.__dict__)  # other handlers may format this record too
        shown.msg, shown.args = _indented(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            shown.exc_text = self.inner.formatException(record.exc_info)
        shown.exc_text = _indented(shown.exc_text) if shown.exc_text else None
        shown.stack_info = _indented(record.stack_info) if record.stack_info else None
        return self.inner.format(shown)


def guard(handlers: list[logging.Handler]) -> None:
    """Make log handlers escape control characters; safe to call twice."""
    for handler in handlers:
        inner = handler.formatter or logging.Formatter()
        if not isinstance(inner, EscapingFormatter):
            handler.setFormatter(EscapingFormatter(inner))


def _indented(text: str) -> str:
    return escaped(text, lines=True).replace("\n", "\n  ")
