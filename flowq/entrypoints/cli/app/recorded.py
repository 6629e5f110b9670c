"""Recorded runs for commands: the engine that reads and changes them, and the runs of given ids."""

import getpass
import logging
from collections.abc import Iterable
from typing import Any

from flowq import bootstrap
from flowq.client import Run
from flowq.engine.engine import Engine
from flowq.engine.model.actions import Face
from flowq.engine.runs.actors import act_as
from flowq.entrypoints.cli.app import apps, environment


def engine() -> Engine:
    """Return the engine over a migrated database; it sends through the named app.

    Raises:
        FlowNotFound: what `--app` names is no Celery app.
        Unavailable: the database cannot be used.
    """
    act_as(Face.CLI, _user())
    if apps.use_named() is None:
        # A worker that has the runs of these commands is woken, and sends their steps at once.
        logging.getLogger("flowq.adapters.dispatch.unsent").addFilter(_is_not_left)
    environment.prepare_database()
    return bootstrap.engine()


def run(run_id: str) -> Run[Any]:
    """Return a run by its id or the first characters of it.

    Raises:
        RunNotFound: there is none, or there are several.
    """
    [found] = runs([run_id])
    return found


def runs(run_ids: Iterable[str]) -> list[Run[Any]]:
    """Return the runs, each once; all are found before the first one is changed.

    Raises:
        RunNotFound: there is none with such an id, or there are several.
    """
    engine()
    return list(dict.fromkeys([Run.get(run_id) for run_id in run_ids]))


def _is_not_left(record: logging.LogRecord) -> bool:
    return getattr(record, "action", None) != "left_to_sweeper"


def _user() -> str | None:
    """Return the user of the operating system; None where it has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
