"""The settings and the engine of this process, for code that runs steps.

Imported when it is asked for: a module that defines steps must not load Celery and SQLAlchemy.
"""

from typing import TYPE_CHECKING

from flowq.settings import Settings

if TYPE_CHECKING:
    from flowq.engine.engine import Engine


def settings() -> Settings:
    """Return the settings of this process."""
    from flowq import bootstrap  # noqa: PLC0415 - see above

    return bootstrap.settings()


def engine() -> "Engine":
    """Return the engine of this process."""
    from flowq import bootstrap  # noqa: PLC0415 - see above

    return bootstrap.engine()
