"""The errors that flowq raises; each is a `FlowqError`, except `StepCancelled`."""

from flowq.core.errors import *  # noqa: F403 - whatever is listed there
from flowq.core.errors import __all__ as __all__  # noqa: PLC0414 - it is public here too
