"""How a program leaves its own code for good: no `Exception`, so that nothing in it catches it."""

from collections.abc import Mapping
from typing import Any


class ContinueAsNew(BaseException):
    """The program goes on as a new run, with an empty record.

    Args:
        inputs: The inputs of the new run, by parameter.
    """

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__("the program continues as a new run")
        self.inputs = inputs
