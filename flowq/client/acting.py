"""`flowq.acting`: who changes a run, for code that does it for somebody else."""

from contextlib import AbstractContextManager

from flowq.engine.model.actions import Face
from flowq.engine.runs import actors


def acting(name: str) -> AbstractContextManager[None]:
    """Record what the block does to runs as the actions of somebody.

    Pause, resume, cancel, signals and raised budgets are recorded with who did it. Without this it
    is the process, as `host:pid`.

    Args:
        name: Who it is, for people; 200 characters of it are recorded.
    """
    return actors.acting(Face.PYTHON, name)
