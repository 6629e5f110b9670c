"""Public names of a package that are imported at first use (PEP 562).

    __getattr__, __dir__ = public_names(__name__, {"flowq.client": "Run"})

So the import of a package is fast, and a module that uses one name does not load what the others
need. All that is imported stays, so the collector of garbage does not look through it meanwhile,
which takes a quarter of the time of an import. Type checkers read the imports under TYPE_CHECKING
beside this line.
"""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def public_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package.

    Args:
        package: Its name.
        homes: From a module to the names that it defines, separated by spaces.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with _without_collector():
            value = getattr(import_module(home_of[name]), name)
        setattr(import_module(package), name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(import_module(package)), *home_of})

    return get, names


@contextmanager
def _without_collector() -> Iterator[None]:
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
