"""As much of PostgreSQL's protocol as it takes to see that a client has asked for a commit.

A commit is the statement COMMIT, or a statement that writes outside a transaction block. Its answer
is complete with ReadyForQuery, and by then it has happened.
"""

import re
import struct

_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_READY = b"Z\x00\x00\x00\x05"


class CommitWatch:
    """Reads what one client sends to PostgreSQL."""

    def __init__(self) -> None:
        self._buffer = b""
        self._started = False
        self._prepared: dict[bytes, str] = {}
        self._bound = ""
        self._within = False
        self._tail = b""
        self.doomed = False

    def sent(self, piece: bytes) -> bool:
        """Take what the client sends; tells whether it asks for a commit."""
        self._buffer += piece
        asked = False
        while (message := self._next()) is not None:
            kind, body = message
            statement = self._statement(kind, body)
            asked = (statement is not None and self._commits(statement)) or asked
        return asked

    def doom(self) -> None:
        """Remember that the answer to what was sent must not pass."""
        self.doomed, self._tail = True, b""

    def answered(self, piece: bytes) -> bool:
        """Take what the server sends; tells whether its answer is complete."""
        self._tail = (self._tail + piece)[-6:]
        return self._tail.startswith(_READY)

    def _next(self) -> tuple[bytes, bytes] | None:
        """Return the next whole message; those before the session have no kind."""
        head = 1 if self._started else 0
        if len(self._buffer) < head + 4:
            return None
        (length,) = struct.unpack_from("!I", self._buffer, head)
        if len(self._buffer) < head + length:
            return None
        kind, body = self._buffer[:head], self._buffer[head + 4 : head + length]
        self._buffer = self._buffer[head + length :]
        if not self._started:
            # The other first messages ask for encryption; a startup message ends them.
            self._started = body[:2] == b"\x00\x03"
        return kind, body

    def _statement(self, kind: bytes, body: bytes) -> str | None:
        """Return the SQL that a message runs."""
        if kind == b"Q":
            return body.split(b"\0", 1)[0].decode(errors="replace")
        if kind == b"P":
            name, text = body.split(b"\0", 2)[:2]
            self._prepared[name] = text.decode(errors="replace")
        elif kind == b"B":
            self._bound = self._prepared.get(body.split(b"\0", 2)[1], "")
        elif kind == b"E":
            return self._bound
        return None

    def _commits(self, statement: str) -> bool:
        word = statement.strip().rstrip(";").upper()
        if word.startswith("BEGIN"):
            self._within = True
        elif word in {"COMMIT", "ROLLBACK"}:
            was_within, self._within = self._within, False
            return was_within and word == "COMMIT"
        elif not self._within:
            return _WRITES.match(statement) is not None
        return False
