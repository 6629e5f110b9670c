"""The tasks of celery-director's works; it loads this file from a folder of its own."""

import time
from typing import Any

from director import task


@task(name="NOOP")
def noop(*_args: Any, **_payload: Any) -> int:
    """Return a number."""
    return 7


@task(name="NAP")
def nap(*_args: Any, **_payload: Any) -> int:
    """Wait for a second."""
    time.sleep(1)
    return 7


@task(name="COUNT")
def count(*args: Any, **_payload: Any) -> int:
    """Return how many results there are."""
    return len(args[0])
