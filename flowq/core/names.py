"""What may be the name of a step or a flow.

A name is written into the records, is the name of a Celery task, and stands in pages, logs and
terminals. So it is text of one line, as long as its column; and no name of Celery's or flowq's own.
"""

from typing import Any, Final

from flowq.core.errors import InvalidFlow
from flowq.core.graph import MAX_NAME_LENGTH

#: What the names of tasks begin with that Celery and flowq themselves register.
_RESERVED: Final = ("celery.", "flowq.")


def check_name(name: Any, what: str, where: str, *, own: bool = False) -> None:
    """Check the name of a step or a flow.

    Args:
        name: The name.
        what: Of what it is the name: `step`, `flow`.
        where: `file:line` of its definition, for the error.
        own: Whether flowq itself defines it.

    Raises:
        InvalidFlow: it cannot be a name.
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
