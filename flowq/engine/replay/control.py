"""How a program leaves its own code for good: no `Exception`, so that it does not catch it."""

from collections.abc import Mapping
from typing import Any


class ContinueAsNew(BaseException):
    """The program continues as a new run, with an empty record.

    Args:
        inputs: The inputs of the new run, by parameter.
    """

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__("the program continues as a new run")
        self.inputs = inputs


class ProgramDiscarded(BaseException):
    """The program continues elsewhere, or not at all: its code here only has to be left.

    Not `GeneratorExit`: Python closes the innermost coroutine first when that is thrown, and when
    a `finally` in there waits for something, the ones around it are left with it half closed.
    """

    def __init__(self) -> None:
        super().__init__("the program is suspended until it continues elsewhere")
