"""Captures what the code of steps logs and prints, in a worker.

A handler on the root logger looks at the context of each record: that of a step has the log of its
attempt, so the right one is found in threads, greenlets and coroutines, and in threads that run
with a copied context. Records of other code are ignored. A program has no such context; its log is
at its execution, and only while it runs code for the first time: a replay logs nothing again.

Printed lines pass through `sys.stdout`, which is replaced at the first attempt that wants them.
Celery makes records of printed lines itself; those are ignored.
"""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, TextIO, cast

from typing_extensions import override

from flowq.engine.replay import execution
from flowq.engine.runtime.context import current_or_none
from flowq.engine.runtime.logs.attempt_log import AttemptLog

#: Celery's logger of what is printed in a worker.
_PRINTED_BY_CELERY: Final = "celery.redirected"
_FORMATTER: Final = logging.Formatter()


def log_here() -> AttemptLog | None:
    """Return the log of the attempt whose code runs here; None if none does, or none is kept."""
    context = current_or_none()
    if context is not None:
        return context.log
    program = execution.current()
    return cast("AttemptLog | None", program.host) if program is not None else None


class LogCapture(logging.Handler):
    """Gives records of steps to the logs of their attempts.

    Args:
        level: The lowest level that is kept.
        flush: Has all lines written; called when logging shuts down.
    """

    def __init__(self, level: int, flush: Callable[[], object] = lambda: None) -> None:
        super().__init__(level)
        self._flush = flush

    @override
    def createLock(self) -> None:
        """Use no lock: an attempt's log may be used in any thread."""
        self.lock = None

    @override
    def emit(self, record: logging.LogRecord) -> None:
        log = log_here()
        if log is None or record.name == _PRINTED_BY_CELERY:
            return
        try:
            log.add(record.created, record.levelno, record.name, _text(record))
        except Exception:  # noqa: BLE001 - as all handlers do it: a record may be wrong in any way
            self.handleError(record)

    @override
    def flush(self) -> None:
        self._flush()


def _text(record: logging.LogRecord) -> str:
    """Return the message, with the traceback of its exception."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text = f"{text}\n{_FORMATTER.formatException(record.exc_info)}"
    if record.stack_info:
        text = f"{text}\n{record.stack_info}"
    return text


def install(handler: LogCapture, loggers: Iterable[logging.Logger]) -> None:
    """Put the handler on loggers, once on each."""
    for one in loggers:
        for old in [known for known in one.handlers if isinstance(known, LogCapture)]:
            one.removeHandler(old)
        one.addHandler(handler)


class _Printed:
    """`sys.stdout` with a copy of what steps print that want it kept."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner

    def write(self, text: str) -> int:
        """Write a text, and give it to the log of the attempt that prints it."""
        log = log_here()
        if log is not None and log.prints:
            log.write(text)
        return self._inner.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write some texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def capture_prints() -> None:
    """Copy what is printed from now on to the logs of attempts that want it."""
    if not isinstance(sys.stdout, _Printed):
        sys.stdout = cast(TextIO, _Printed(sys.stdout))
