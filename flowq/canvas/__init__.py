"""Celery's canvas as durable runs: signatures of ordinary tasks, recorded and recovered as flows.

The public names. Each is imported at first use, so that importing this loads neither Celery nor a
database.
"""

from typing import TYPE_CHECKING

from flowq.lazy import public_names

if TYPE_CHECKING:
    from flowq.canvas.handle import CanvasRun, Durable, durable

__all__ = ["CanvasRun", "Durable", "durable"]

__getattr__, __dir__ = public_names(__name__, {"flowq.canvas.handle": "CanvasRun Durable durable"})
