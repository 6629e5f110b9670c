"""Checks the names of steps and flows.

A name is stored in the records, is the name of a Celery task, and is shown in pages, logs and
terminals. So it is one line of text that fits its column, and not a name of Celery or flowq.
"""

from typing import Any, Final

from flowq.core.errors import InvalidFlow
from flowq.core.graph import MAX_NAME_LENGTH

_OWN: Final = "flowq."
#: Prefixes of the tasks that Celery and flowq themselves register.
_RESERVED: Final = ("celery.", _OWN)


def is_own(name: str) -> bool:
    """Return whether a step or flow is part of flowq.

    They do not check their inputs, which another part of flowq has made. So clients of the HTTP
    service and documents must not call them by name.
    """
    return name.startswith(_OWN)


def check_name(name: Any, what: str, where: str, *, own: bool = False) -> None:
    """Check the name of a step or a flow.

    Args:
        what: The kind of thing: `step`, `flow`.
        where: `file:line` of its definition, for the error.
        own: Whether flowq itself defines it.

    Raises:
        InvalidFlow: it is not allowed as a name.
    """
    problem = _problem(name, own=own)
    if problem is not None:
        shown = name[:MAX_NAME_LENGTH] if isinstance(name, str) else name
        raise InvalidFlow(
            f"the name of a {what} is {shown!r}: {problem} ({where})",
            hint='give it another, e.g. name="shop.charge"',
        )


def _problem(name: Any, *, own: bool) -> str | None:
    if not isinstance(name, str):
        return "it is not text"
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        return f"it has {len(name)} characters, the limit is 1 to {MAX_NAME_LENGTH}"
    if not name.isprintable() or name != name.strip():
        return "it has a character that cannot be printed, or a space at its end"
    for prefix in _RESERVED:
        if name.startswith(prefix) and not own:
            return f"{prefix}* is reserved for the tasks of {prefix.removesuffix('.')} itself"
    return None
