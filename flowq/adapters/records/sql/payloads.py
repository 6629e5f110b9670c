"""The form of a small result's durable copy in a JSON column, and reading it back.

A JSON result is stored as it is, so people can query it; text as `{"content": …}`; any other bytes
as `{"base64": …}`. For a large result the column has only its location: `{"$object": …, "size":
…}`.
"""

import base64
import json
from typing import Any

from flowq.adapters.records.sql.types import EncodedJson


def copy_to_json(codec: str, data: bytes) -> Any:
    """Return the value of the column."""
    if codec == "json":
        return EncodedJson(data)
    if codec == "text":
        return {"content": data.decode()}
    return {"base64": base64.b64encode(data).decode()}


def copy_from_text(codec: str, text: str) -> bytes:
    """Return the encoded bytes from the column's JSON text."""
    if codec == "json":
        return text.encode()
    column = json.loads(text)
    if codec == "text":
        return str(column["content"]).encode()
    return base64.b64decode(column["base64"])
