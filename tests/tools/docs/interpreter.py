"""The interpreter of a page: runs its Python blocks, which come as lines of JSON on standard input.

Its answers are lines on standard output; what the blocks print goes to the file that is named on
the command line. A block knows the names of those before it, and may use `await` outside of
functions. It is a module of its own, so a page may show a step twice, before and after a change. A
traceback has the lines of the page. Flows that a block defines are drawn with inputs of the
annotated types, and its tests are run.
"""

import ast
import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback
import types
from datetime import date
from typing import Any, Final

#: Inputs to draw a flow with, by annotation.
_SAMPLES: Final[dict[Any, Any]] = {
    bool: True,
    float: 0.5,
    int: 3,
    str: "text",
    date: date(2030, 1, 1),
    list[int]: [1, 2],
    list[str]: ["a", "b"],
}


class Interpreter:
    """What is known after each block."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._loop = asyncio.Runner()

    def run(self, code: str, file: str, line: int) -> None:
        """Run a block that begins on a line of a file."""
        importlib.invalidate_caches()  # files may have been saved since
        module = types.ModuleType(f"block{line}")
        sys.modules[module.__name__] = module
        names = vars(module)
        names |= self._known
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        running = eval(compile("\n" * (line - 1) + code, file, "exec", flags), names)
        if inspect.iscoroutine(running):
            self._loop.run(running)
        made = {name: value for name, value in names.items() if not name.startswith("__")}
        for name, value in made.items():
            if self._known.get(name) is not value:
                self._look_at(name, value)
        self._known = made

    def _look_at(self, name: str, value: Any) -> None:
        """Draw a new flow, or run a new test."""
        from flowq import Flow

        callable_ = inspect.isfunction(value) or isinstance(value, Flow)
        parameters = inspect.signature(value).parameters if callable_ else {}
        given = {one: _SAMPLES.get(each.annotation) for one, each in parameters.items()}
        if isinstance(value, Flow) and None not in given.values():
            value.spec(**given)
        elif inspect.isfunction(value) and name.startswith("test_") and not given:
            value()


def _traceback(error: BaseException) -> str:
    """Return a traceback without the frames of this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def main() -> None:
    """Answer each block: null, or how it failed."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        with open(sys.argv[1], "ab") as printed:  # noqa: PTH123
            for number in (1, 2):
                os.dup2(printed.fileno(), number)
        sys.path[0] = os.getcwd()  # noqa: PTH109 - as the interpreter has it, when it is typed
        interpreter = Interpreter()
        for line in sys.stdin:
            try:
                interpreter.run(**json.loads(line))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the page has it
                problem: str | None = _traceback(error)
            else:
                problem = None
            sys.stdout.flush()
            sys.stderr.flush()
            answers.write(f"{json.dumps(problem)}\n")
            answers.flush()


if __name__ == "__main__":
    main()
