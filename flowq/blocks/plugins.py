"""Checks what users register as edge types: at the decorator, where the mistake is.

A name has one or two parts. A function takes the settings and the contents, and has a name of its
own, which errors and logs show. A name belongs to one function, but a module may be executed again
(`flowq.engine.registry.origins`).
"""

import inspect
import re
from typing import Any, Final

from flowq.core.errors import InvalidFlow
from flowq.engine.registry.origins import Origin, origin_of

_NAME: Final = re.compile(r"[A-Za-z][\w-]{0,79}(\.[\w-]{1,79})?", re.ASCII)


def checked(name: Any, function: Any, known: Origin | None, *, ships: bool) -> Origin:
    """Return where an edge type is defined.

    Args:
        name: Its name.
        function: What the decorator is above.
        known: Where a type of this name is defined, if there is one.
        ships: Whether flowq itself has a type of this name.

    Raises:
        InvalidFlow: the name or the function cannot be used, or the name is taken.
    """
    if not callable(function):
        raise InvalidFlow(
            f"@edge_type({name!r}) is above {function!r}, which is no function",
            hint="write it above def f(config, contents): …",
        )
    origin = origin_of(function)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidFlow(
            f"the name of an edge type is {name!r}: it is no type and no type with a variant "
            f"({origin.place})",
            hint='use letters, digits, _ and -, e.g. @edge_type("translate") or "search.web"',
        )
    if getattr(function, "__name__", "") == "<lambda>":
        raise InvalidFlow(
            f"the edge type {name!r} is a lambda, which has no name for errors ({origin.place})",
            hint="write it as def f(config, contents): …",
        )
    try:
        inspect.signature(function).bind({}, {})
    except (TypeError, ValueError) as error:
        raise InvalidFlow(
            f"the edge type {name!r} cannot be called with (config, contents): {error} ({origin})",
            hint="write it as def f(config, contents): …",
        ) from None
    if ships:
        raise InvalidFlow(
            f"the edge type {name!r} is one of flowq's own ({origin})",
            hint='give yours another name, or a variant: @edge_type("search.web")',
        )
    if known is not None and not origin.is_again(known):
        raise InvalidFlow(
            f"two edge types are named {name!r}: {known} and {origin}",
            hint='give one of them another name: @edge_type("…")',
        )
    return origin
