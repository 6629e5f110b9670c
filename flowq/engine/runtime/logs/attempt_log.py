"""The lines of one attempt: taken in any thread, cut into bunches by the thread that writes them.

An attempt may log without end, so it has a limit. The first half of it has the attempt's first
lines, which stay. The other half has its last lines: each new bunch displaces old ones. What is
missing in between is counted, and so are lines that were dropped because too many waited for the
database.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from flowq.core.text.masking import without_secrets
from flowq.engine.model.logs import DroppedBunches, LogBunch, StoredLine
from flowq.engine.model.rows import Claim

#: Characters of a message; the rest is cut off.
MAX_MESSAGE: Final = 16_384
#: Characters of a printed line without an end that wait for what comes after them.
_OVERLAP: Final = 4_096
#: Bytes of a bunch, at most an eighth of the limit; a longer line is a bunch of its own.
BUNCH_BYTES: Final = 256 * 1024
#: Bytes that a row costs beside its lines: with them, few lines a second are limited too.
_ROW_BYTES: Final = 200
#: The logger of printed lines.
PRINT: Final = "print"


class Taker(Protocol):
    """Takes lines to be written."""

    def put(self, log: "AttemptLog", line: StoredLine) -> None:
        """Take a line; neither waits nor raises."""


@dataclass(frozen=True, slots=True)
class DroppedLines:
    """Lines of an attempt that were not taken."""

    count: int
    at_us: int  #: When the first of them was logged.


@dataclass(frozen=True, slots=True)
class _Kept:
    """A bunch that later ones may displace."""

    first_line: int
    missing: int
    size: int


class AttemptLog:
    """What one attempt logs.

    Args:
        claim: The attempt.
        taker: Takes its lines.
        limit_bytes: How much of it is kept.
        prints: Whether printed lines are kept.

    Attributes:
        mask: Removes secrets of the attempt from a text; None when it has none.
    """

    __slots__ = (
        "_bunch_bytes",
        "_claim",
        "_half",
        "_head_bytes",
        "_next",
        "_partial",
        "_tail",
        "_tail_begin",
        "_tail_bytes",
        "_taker",
        "mask",
        "prints",
    )

    def __init__(
        self, claim: Claim, taker: Taker, limit_bytes: int, *, prints: bool = False
    ) -> None:
        self._claim = claim
        self._taker = taker
        self._half = limit_bytes // 2
        self._bunch_bytes = min(BUNCH_BYTES, self._half // 4)
        self.mask: Callable[[str], str] | None = None
        self.prints = prints
        self._partial = ""
        # Only the writing thread uses these.
        self._next = 0
        self._head_bytes = self._tail_bytes = 0
        self._tail_begin = 0
        self._tail: deque[_Kept] | None = None

    def add(self, at: float, level: int, logger: str, message: str) -> None:
        """Take a line; neither waits nor raises.

        Args:
            at: Seconds since 1970.
            level: As in `logging`.
            logger: Its name.
            message: The formatted message, perhaps of several lines.
        """
        if len(message) > MAX_MESSAGE:
            message = self._cut(message)
        self._taker.put(self, StoredLine(int(at * 1_000_000), level, logger, message))

    def _cut(self, message: str) -> str:
        """Return the beginning of a long message; a secret in two pieces would not be found."""
        message = self._without_secrets(message)
        rest = len(message) - MAX_MESSAGE
        return message if rest <= 0 else f"{message[:MAX_MESSAGE]}… ({rest:,} more characters)"

    def write(self, text: str) -> None:
        """Take printed text; whole lines are kept, and the rest when it is complete or long."""
        lines = (self._partial + text).split("\n")
        self._partial = lines.pop()
        for line in lines:
            self._print(line)
        if len(self._partial) > MAX_MESSAGE:
            # The end may have the begin of a secret, which is found when the rest is there.
            text = self._without_secrets(self._partial)
            self._partial = text[-_OVERLAP:]
            self._print(text[:-_OVERLAP])

    def end_line(self) -> None:
        """Keep printed text that no line break has ended."""
        line, self._partial = self._partial, ""
        if line:
            self._print(line)

    def _print(self, line: str) -> None:
        record = logging.LogRecord(PRINT, logging.INFO, "", 0, line, None, None)
        self.add(record.created, record.levelno, PRINT, line)

    # --- for the writing thread ------------------------------------------------------------------

    def bunches(
        self, lines: Sequence[StoredLine], dropped: DroppedLines | None = None
    ) -> tuple[list[LogBunch], DroppedBunches | None]:
        """Cut lines into bunches, to be stored in this order.

        Args:
            lines: The lines that were taken since the last call.
            dropped: Those that were dropped after them.

        Returns:
            The bunches, and stored bunches of the attempt that they displace.
        """
        made = [self._bunch(part, data) for part, data in self._parts(lines)]
        if dropped is not None:
            gap = StoredLine(dropped.at_us, logging.WARNING, "", "")
            made.append(replace(self._bunch([gap], []), line_count=0, missing=dropped.count))
            self._next += dropped.count - 1
        return self._within_limit(made)

    def _parts(self, lines: Sequence[StoredLine]) -> Iterator[tuple[list[StoredLine], list[bytes]]]:
        """Yield lines that fit into a bunch, with their JSON."""
        part: list[StoredLine] = []
        encoded: list[bytes] = []
        size = 0
        for line in lines:
            data = _encoded(line._replace(message=self._without_secrets(line.message)))
            if part and size + len(data) >= self._bunch_bytes:
                yield part, encoded
                part, encoded, size = [], [], 0
            part.append(line)
            encoded.append(data)
            size += len(data) + 1
        if part:
            yield part, encoded

    def _without_secrets(self, message: str) -> str:
        if self.mask is not None:
            message = self.mask(message)
        return without_secrets(message) if "://" in message else message

    def _bunch(self, part: Sequence[StoredLine], encoded: Sequence[bytes]) -> LogBunch:
        data = b"[" + b",".join(encoded) + b"]"
        first, self._next = self._next, self._next + len(part)
        return LogBunch(
            run_id=self._claim.run_id,
            step_id=self._claim.id,
            token=self._claim.token,
            attempt=self._claim.attempt,
            first_line=first,
            line_count=len(part),
            missing=0,
            level=max(line.level for line in part),
            first_at=datetime.fromtimestamp(part[0].at_us / 1_000_000, UTC),
            data=data,
        )

    def _within_limit(self, made: list[LogBunch]) -> tuple[list[LogBunch], DroppedBunches | None]:
        """Displace the oldest bunches of the tail, stored or new."""
        for bunch in made:
            size = len(bunch.data) + _ROW_BYTES
            if self._tail is None and self._head_bytes + size <= self._half:
                self._head_bytes += size
                continue
            if self._tail is None:
                self._tail, self._tail_begin = deque(), bunch.first_line
            self._tail.append(_Kept(bunch.first_line, bunch.missing, size))
            self._tail_bytes += size
        gone = set(self._shorten())
        if not gone:
            return made, None
        assert self._tail is not None
        oldest = self._tail[0]
        missing = oldest.first_line - self._tail_begin + oldest.missing
        kept = [
            replace(bunch, missing=missing) if bunch.first_line == oldest.first_line else bunch
            for bunch in made
            if bunch.first_line not in gone
        ]
        stored = tuple(sorted(gone - {bunch.first_line for bunch in made}))
        if not stored:
            return kept, None
        place = (self._claim.id, self._claim.token)
        return kept, DroppedBunches(*place, stored, oldest.first_line, missing)

    def _shorten(self) -> Iterator[int]:
        """Yield the first lines of what the tail has too much; its last bunch stays."""
        while self._tail is not None and len(self._tail) > 1 and self._tail_bytes > self._half:
            oldest = self._tail.popleft()
            self._tail_bytes -= oldest.size
            yield oldest.first_line


def _encoded(line: StoredLine) -> bytes:
    """Return a line as JSON; what UTF-8 does not have is written as an escape."""
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        message = line.message.encode(errors="backslashreplace").decode()
        logger = line.logger.encode(errors="backslashreplace").decode()
        return _encoded(line._replace(message=message, logger=logger))
