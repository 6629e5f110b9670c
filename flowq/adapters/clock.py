"""The clock and the dice of this process, for an `async def` flow that runs as plain Python."""

import random
from datetime import UTC, datetime
from uuid import UUID, uuid4


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def uuid() -> UUID:
    """Return a random id."""
    return uuid4()


def chance() -> float:
    """Return a random number from 0 up to, but not, 1."""
    return random.random()  # noqa: S311 - not for secrets, as Python's own
