"""Prevents forks while SQLite is in use.

SQLite keeps in memory which locks a process holds on a file, and a forked child inherits that
memory: if a thread of the parent was writing at the moment of the fork, the file is locked in the
child forever, although no process holds a lock. The parent of a prefork pool sweeps in a thread and
forks whenever a child has to be replaced, so there a fork waits until no statement runs.

Files are closed before the fork, too. Otherwise the child would not take the lock of an open file:
the last process that closes the file would then remove the log that the child still uses.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local
from weakref import WeakSet

from sqlalchemy import Engine, QueuePool


class ForkGuard:
    """Makes forks and users of SQLite wait for each other. Thread-safe."""

    def __init__(self) -> None:
        self._mine = local()
        self._engines: WeakSet[Engine] = WeakSet()
        self.reset()
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self.reset
        )

    @contextmanager
    def use(self) -> Iterator[None]:
        """Prevent forks within the block, except by this thread itself."""
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
        """Reset the state: a forked child has neither the other threads nor what they held."""
        self._changed = Condition()
        self._users = self._own
        self._forking = 0

    @property
    def _own(self) -> int:
        """The number of uses by the calling thread."""
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
