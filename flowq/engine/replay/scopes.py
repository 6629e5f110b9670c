"""The place of a call in a program: the scope of its task, and its ordinal there.

Ordinals are given at call time, and each task counts its own calls. So a call's name does not
depend on which of several concurrent tasks got its answer first.

    root task       1, 2, 3
    its tasks       t1.1, t1.2, t2.1
    a task's task   t1.t1.1
    callbacks       c.1, c.2        of `add_done_callback` and similar functions
"""

from hashlib import sha256
from itertools import count

#: A longer name is replaced by a digest, because keys have to fit their column.
_MAX_NAME_LENGTH = 80


class Scope:
    """The counters of one task."""

    def __init__(self, name: str) -> None:
        self.name = (
            name if len(name) <= _MAX_NAME_LENGTH else f"h{sha256(name.encode()).hexdigest()[:20]}"
        )
        self._calls = count(1)
        self._tasks = count(1)
        self._draws = count(1)

    def next_call(self) -> str:
        """Return the place of the next call."""
        return self._inside(str(next(self._calls)))

    def next_task(self) -> "Scope":
        """Return the scope of the next task that is created here."""
        return Scope(self._inside(f"t{next(self._tasks)}"))

    def next_draw(self) -> str:
        """Return the place of the next random number or id."""
        return self._inside(f"d{next(self._draws)}")

    def _inside(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name


def key_of(label: str, path: str) -> str:
    """Return the key of a call."""
    return f"{label[:_MAX_NAME_LENGTH]}#{path}"


def path_of(key: str) -> str:
    """Return the place of the call with this key."""
    return key.rpartition("#")[2]
