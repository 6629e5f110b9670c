"""Names under which step types and flows are registered: `{module}.{qualname}`, as Celery does.

A file that is started as a script has the module name `__main__`, yet the workers import it as
`examples.codebase`. Both must find the same names, so for a script the module's name is made from
the file's path, as seen from the current directory: what `celery -A examples.codebase` sees from
there.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowq.core.errors import InvalidFlow

#: Names of the module that a process was started with; the second is multiprocessing's.
_SCRIPTS = ("__main__", "__mp_main__")


def registered_name(function: Callable[..., Any]) -> str:
    """Return the name of a function as all processes know it.

    Raises:
        InvalidFlow: it has none of its own, like a lambda.
    """
    name = getattr(function, "__qualname__", "<nameless>")
    if name.endswith((">", "<lambda>")):
        raise InvalidFlow(
            f"{function!r} has no name that a worker could find it by",
            hint='define it with `def`, or name it: step(name="…")(function)',
        )
    return f"{module_name(function.__module__)}.{name}"


def module_name(module: str) -> str:
    """Return the name under which workers import a module."""
    if module not in _SCRIPTS:
        return module
    script = sys.modules.get(module)
    spec = getattr(script, "__spec__", None)
    if spec is not None and spec.name not in _SCRIPTS:
        return str(spec.name)  # python -m examples.codebase
    file = getattr(script, "__file__", None)
    if file is None:
        return module  # an interactive session: no other process can import it anyway
    path = Path(file).resolve().with_suffix("")
    here = Path.cwd().resolve()
    parts = path.relative_to(here).parts if path.is_relative_to(here) else (path.name,)
    return ".".join(parts)
