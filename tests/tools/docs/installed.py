"""Become a program that an installation puts beside Python: `installed.py NAME ARGUMENT...`.

A worker creates the file that DOCS_READY names when it is ready for messages.
"""

import os
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

#: Programs whose entry points are known without a look at all distributions.
_KNOWN: Final = {
    "celery": "celery.__main__:main",
    "flowq": "flowq.entrypoints.cli.main:main",
    "uvicorn": "uvicorn.main:main",
}
#: Pools that have to patch the standard library before anything is imported.
_PATCHING: Final = {"eventlet", "gevent"}


def _program(name: str) -> Any:
    if name in _KNOWN:
        module, _, function = _KNOWN[name].partition(":")
        return getattr(import_module(module), function)
    [found] = entry_points(group="console_scripts", name=name)
    return found.load()


def _tell_when_ready(file: Path) -> None:
    from celery.signals import worker_ready

    @worker_ready.connect(weak=False)
    def tell(**_: Any) -> None:
        file.touch()


def main() -> None:
    """Run it."""
    _, name, *arguments = sys.argv
    sys.argv = [name, *arguments]
    sys.path.pop(0)  # the folder of this file
    ready = os.environ.pop("DOCS_READY", None)
    if ready and not _PATCHING & set(arguments):
        _tell_when_ready(Path(ready))
    sys.exit(_program(name)())


if __name__ == "__main__":
    main()
