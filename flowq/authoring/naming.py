"""Names under which step types and flows are registered: `{module}.{qualname}`, as Celery does.

A file that is started as a script has the module name `__main__`, but the workers import it as
`examples.codebase`. Both must find the same names. So for a script the module's name is made from
the path of its file, in this order:

    python -m a.b            a.b, from Python itself
    a file of a package      from the outermost folder with an `__init__.py`
    a file on Python's path  from the folder in PYTHONPATH or of an installation
    python a/b.py            from the current folder, where `celery -A a.b` is typed too
    python /x/a/b.py         from the current folder if that is a project's: with a pyproject.toml,
                             e.g.; else the file's own name: its workers are started beside it

So a script that is started from any folder, e.g. by cron, finds the worker's names.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowq.core.errors import InvalidFlow

#: Names of a process's main module; the second is multiprocessing's.
_SCRIPTS = ("__main__", "__mp_main__")

#: Files that show that the current folder is the folder of a project.
_PROJECT = (
    *("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile", "manage.py"),
    *("celeryconfig.py", "Procfile", "Makefile", ".git", ".hg", ".venv", "venv", ".flowq"),
)

_MARKS = str.maketrans("#[]", "___")


def registered_name(function: Callable[..., Any]) -> str:
    """Return the name of a function that is the same in all processes.

    Raises:
        InvalidFlow: it has no name, like a lambda.
    """
    name = getattr(function, "__qualname__", "<nameless>")
    if name.endswith((">", "<lambda>")):
        raise InvalidFlow(
            f"{function!r} has no name by which a worker could find it",
            hint='define it with `def`, or name it: step(name="…")(function)',
        )
    return f"{module_name(function.__module__)}.{name}"


def short_name(definition: Any, name: str) -> str:
    """Return the name of a step or flow in keys of nodes, and so in errors and pictures.

    A class is shown with its `step_name` or `flow_name`, a function with its own name.

    Args:
        definition: The function or class.
        name: Its registered name.
    """
    if not isinstance(definition, type):
        own: str = getattr(definition, "__name__", "")
        name = own if own.isidentifier() else name.rpartition(".")[2]
    # After these marks a key has the place of a call, or the index of an item.
    return name.translate(_MARKS)


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
    typed = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path(file)
    return import_place(typed if typed.resolve() == Path(file).resolve() else Path(file))[1]


def import_place(typed: Path) -> tuple[Path, str]:
    """Return the folder from which workers import a file, and its module name.

    Args:
        typed: The file, as the user typed it: a relative path begins in the current folder.
    """
    file = typed.resolve()
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    if folder == file.parent:
        folder = _root_of(file, is_relative=not typed.is_absolute())
    parts = [*file.relative_to(folder).with_suffix("").parts]
    if parts[-1] == "__init__" and len(parts) > 1:
        del parts[-1]
    return folder, ".".join(parts)


def _root_of(file: Path, *, is_relative: bool) -> Path:
    """Return the folder from which workers import a file that is in no package."""
    here = Path.cwd().resolve()
    roots = [folder for folder in _python_path(file.parent, here) if file.is_relative_to(folder)]
    if roots:
        return max(roots, key=lambda root: len(root.parts))
    if not file.is_relative_to(here):
        return file.parent
    can_be_imported = all(part.isidentifier() for part in file.parent.relative_to(here).parts)
    is_meant = is_relative or any((here / name).exists() for name in _PROJECT)
    return here if can_be_imported and is_meant else file.parent


def _python_path(script: Path, here: Path) -> list[Path]:
    """Return the folders on the import path of every process, not only of this one.

    Python adds the script's folder to its path, and programs like Celery the current one.
    """
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    everywhere = [Path(folder).resolve() for folder in given]
    found = [Path(folder).resolve() for folder in sys.path if folder]
    return everywhere + [folder for folder in found if folder not in (script, here)]
