"""Names by which a worker finds what a caller has: `shop.chat:fetch`.

A function, a class or an object at the top of a module has such a name. One that was made inside a
function, or a lambda, has none: no other process could find it.
"""

import sys
from functools import cache
from importlib import import_module
from typing import Any

from flowq.authoring.naming import module_name
from flowq.pipeline.errors import NotExecutable


def name_of(value: Any) -> str | None:
    """Return the name under which other processes find a function, a class or an object."""
    module = getattr(value, "__module__", None)
    own = getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(own, str):
        name = f"{module_name(module)}:{own}"
        return name if found_or_none(name) is value else None
    return _named_object(value)


def _named_object(value: Any) -> str | None:
    """Look through the modules for an object that does not know its own name."""
    for module, loaded in list(sys.modules.items()):
        for name, one in list(getattr(loaded, "__dict__", {}).items()):
            if one is value:
                return f"{module_name(module)}:{name}"
    return None


def found_or_none(name: str) -> Any:
    """Return what has a name; None if nothing has."""
    try:
        return find(name)
    except NotExecutable:
        return None


def find(name: str) -> Any:
    """Return what has a name.

    Raises:
        NotExecutable: nothing has it, in this process.
    """
    module, _, path = name.partition(":")
    try:
        value: Any = _module(module)
        for part in path.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise NotExecutable(
            f"{name!r} cannot be imported here: {error}",
            hint="start workers where the module can be imported, and of the same version",
        ) from error
    return value


def find_own(name: str) -> Any:
    """Return what has a name, of an application or a library that is installed.

    What is called by its name is never of Python's own library: many of its functions do whatever
    they are given.

    Raises:
        NotExecutable: nothing has the name in this process, or it is of Python's own library.
    """
    if name.partition(":")[0].partition(".")[0] in sys.stdlib_module_names:
        raise NotExecutable(
            f"{name!r} is of Python's own library",
            hint="call it in a function of your own",
        )
    return find(name)


def _module(name: str) -> Any:
    # A script is known to workers by the name of its file; here it must not be loaded twice.
    main = sys.modules.get("__main__")
    if main is not None and name == _script():
        return main
    return import_module(name)


@cache
def _script() -> str:
    return module_name("__main__")
