"""Reads JSON strictly, with one kind of error.

Python's reader takes the last of duplicate keys in silence, which may be the wrong one: an edited
file then means something else than it shows. And it raises other errors for text that nests too
deep, is no UTF-8 or has a number that is too long. Here all of them are `JSONDecodeError`, which
readers of requests and of files expect.
"""

import json
from collections import Counter
from typing import Any

from typing_extensions import override


class _Refused(json.JSONDecodeError):
    """An error whose place in the text is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "", 0)

    @override
    def __str__(self) -> str:
        return self.msg

    @override
    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.msg,)


def loads(text: str | bytes) -> Any:
    """Return the data of JSON text.

    Raises:
        JSONDecodeError: it is not JSON, or cannot be read, or has a key twice in one object.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise _Refused(f"it is not UTF-8, from byte {error.start} on") from None
    except RecursionError:
        raise _Refused("it nests too deep") from None
    except ValueError:  # Python has a limit of the digits of integers.
        raise _Refused("it has an integer with too many digits") from None


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        [(name, _)] = Counter(name for name, _ in items).most_common(1)
        raise _Refused(f"the key {name!r} is there more than once in one object")
    return found
