"""Arguments and results of tasks as the JSON that Celery writes, and back.

Celery's serializer writes dates, UUIDs, decimals and bytes as tagged objects, tuples as lists and
keys of mappings as text. A task of a canvas gets its arguments after that, as from a message. What
has no JSON form is refused: nothing is pickled.
"""

import json
from typing import Any

from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from flowq.core.errors import NotSerializable


def encoded(value: Any, what: str) -> Any:
    """Return a value as plain JSON data.

    Args:
        value: An argument or a result of a task.
        what: What it is, for the error.

    Raises:
        NotSerializable: it has no JSON form.
    """
    try:
        return json.loads(dumps(value, default_kwargs={"allow_nan": False}))
    except (TypeError, ValueError, OverflowError, RecursionError, EncodeError) as error:
        raise NotSerializable(
            f"{what} cannot be stored: {error}",
            hint="flowq stores JSON as Celery's json serializer writes it, and never pickles",
        ) from error


def decoded(value: Any) -> Any:
    """Return the value that JSON data stands for."""
    return loads(json.dumps(value))
