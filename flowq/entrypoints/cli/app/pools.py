"""Pools of greenlets: their library must patch Python before any blocking module is imported.

The `celery` command does this first. `flowq worker` must do it too; otherwise `-P gevent` would run
one step at a time.
"""

from collections.abc import Sequence

import celery
import click


def prepare(options: Sequence[str]) -> None:
    """Let the library of the chosen pool patch the blocking calls of Python.

    Raises:
        UsageError: the pool needs a library that is not installed.
    """
    try:
        celery.maybe_patch_concurrency(["celery", *options])
    except ImportError as error:
        raise click.UsageError(
            f"this pool needs {error.name}, which is not installed: pip install {error.name}"
        ) from error
