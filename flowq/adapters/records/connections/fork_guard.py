"""No fork while SQLite is in use.

SQLite remembers per process which locks the process holds on a file, and a forked child inherits
that memory: if a thread of the parent was writing at the moment of the fork, the file is locked in
the child forever, although nobody holds a lock. The parent of a prefork pool sweeps in a thread
and forks whenever a child has to be replaced, so there a fork waits until no statement runs.

Files are closed before it, too. The child would believe that it shares the lock which an open file
has, and not take it: whoever closes the file last elsewhere would remove the log under its feet.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local
from weakref import WeakSet

from sqlalchemy import Engine, QueuePool


class ForkGuard:
    """Lets forks wait for those who use SQLite, and these for a fork. Safe among threads."""

    def __init__(self) -> None:
        self._mine = local()
        self._engines: WeakSet[Engine] = WeakSet()
        self.reset()
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self.reset
        )

    @contextmanager
    def use(self) -> Iterator[None]:
        """Let no fork happen within the block, but for one by this thread itself."""
        if self._own:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            self._users += 1
        self._mine.inside = True
        try:
            yield
        finally:
            self._mine.inside = False
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def close_before(self, engine: Engine) -> None:
        """Close the pooled connections of an engine before each fork."""
        if isinstance(engine.pool, QueuePool):  # a database in memory would end with its connection
            self._engines.add(engine)

    def reset(self) -> None:
        """Begin again: a forked child has neither the other threads nor what they held."""
        self._changed = Condition()
        self._users = self._own
        self._forking = 0

    @property
    def _own(self) -> int:
        """How often the calling thread counts as a user."""
        return int(getattr(self._mine, "inside", False))

    def _before(self) -> None:
        own = self._own
        with self._changed:
            self._forking += 1
            self._changed.wait_for(lambda: self._users == own)
        for engine in list(self._engines):
            engine.dispose()

    def _after(self) -> None:
        with self._changed:
            self._forking -= 1
            self._changed.notify_all()
