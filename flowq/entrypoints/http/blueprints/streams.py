"""The events of an instance as lines of JSON (`application/x-ndjson`).

A line is made once for all readers. The names of events are those of `flowq docs events` in small
letters; a run that fails is `workflow_failed`. An empty line keeps a silent connection open.
"""

import json
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from typing_extensions import override

from flowq.client.event_log import Entry
from flowq.core.errors import FlowqError
from flowq.core.events import Event
from flowq.core.ids import RunId
from flowq.entrypoints.http.problems import problem_of
from flowq.entrypoints.http.sse import EventStream, frame_followers

LINES: Final = "application/x-ndjson"
_RENAMED: Final = {"WORKFLOW_ERROR": "workflow_failed"}


class InstanceStream(EventStream):
    """The answer that sends the events of an instance from its first to its last.

    Args:
        run_id: Its run, which exists.
    """

    media_type = LINES
    silence: ClassVar[bytes] = b"\n"

    def __init__(self, run_id: RunId) -> None:
        super().__init__(_FOLLOWERS, run_id)
        self.headers["Location"] = f"/api/v2/instances/{run_id}"

    @override
    @staticmethod
    def failure(error: FlowqError) -> bytes:
        problem = problem_of(error)[1].model_dump(mode="json", exclude_none=True)
        return _line({"event_type": "error", **problem})


def _lines(event: Event) -> Iterable[Entry[bytes]]:
    data = event.model_dump(mode="json", exclude={"event_type", "run_id", "rebuilt"})
    name = _RENAMED.get(event.event_type, event.event_type.lower())
    line = _line({"event_type": name, "instance_id": str(event.run_id), **data})
    yield Entry(str(event.id), line, len(line) + 200)


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode() + b"\n"


_FOLLOWERS: Final = frame_followers(lambda _: _lines)
