"""What others have written, on a terminal, in printed JSON and in logs: nothing of it acts.

The console of the CLI and the formatters of logs pass all text through `core.text.escaping`, so
that nothing that is printed can forget it. JSON has escapes of its own.
"""

import json
import logging
from typing import Any, Final

from flowq.core.text.escaping import SHOWN, escaped

__all__ = ["EscapingFormatter", "escaped", "escaped_json", "guard", "json_text"]


def _escape(code: int) -> str:
    """Return a character as JSON escapes it; what Python's does not, too."""
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(chr(code))[1:-1]


_IN_JSON: Final = {code: _escape(code) for code in SHOWN if code >= 0x20}


def json_text(data: Any, *, indent: int | None = None) -> str:
    """Return plain data as JSON that can be printed: readable, and no character in it acts."""
    return escaped_json(json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False))


def escaped_json(text: str) -> str:
    """Return a JSON document with the characters escaped that would act; it means the same."""
    return text.translate(_IN_JSON)


class EscapingFormatter(logging.Formatter):
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
        if not isinstance(inner, EscapingFormatter):
            handler.setFormatter(EscapingFormatter(inner))


def _indented(text: str) -> str:
    return escaped(text, lines=True).replace("\n", "\n  ")
