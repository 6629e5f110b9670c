"""The errors that flowq raises; each of them is a `FlowqError`, but for `StepCancelled`."""

from flowq.core.errors import *  # noqa: F403 - whatever is listed there
from flowq.core.errors import __all__  # noqa: F401
