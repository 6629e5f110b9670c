"""The frames of tasks as server-sent events, of three kinds.

    v1       data frames and the end, without names and ids; a reader begins at the first
    v2       every event, with its name, and an id to continue after
    task     v2, with TASK_ instead of WORKFLOW_ in the names

A process translates the events of a run once for each kind, for all readers.
"""

import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

from fastapi.sse import format_sse_event
from starlette.responses import Response

from flowq import bootstrap
from flowq.blocks.errors import PuppyException
from flowq.blocks.reports.frames import Frame
from flowq.blocks.tasks import Task
from flowq.client.event_log import Entry, Translate
from flowq.core.events import Event
from flowq.core.ids import RunId
from flowq.engine.events.follow import position
from flowq.entrypoints.http.auth import Caller
from flowq.entrypoints.http.sse import (
    HEADERS,
    RETRY,
    EventStream,
    FrameFollowers,
    frame,
    frame_followers,
)

_OLD: Final = "WORKFLOW_"
_RENAMED: Final = {"WORKFLOW_ERROR": "TASK_FAILED"}


class Kind(StrEnum):
    """The form of a stream."""

    V1 = "v1"
    V2 = "v2"
    TASK = "task"


#: Makes the entry of a frame; None when its kind leaves it out.
_AsEntry = Callable[[Frame], Entry[bytes] | None]


class TaskStreams:
    """The streams of tasks that one app sends.

    Args:
        with_blocks: Whether frames of v1 hold whole blocks, see FLOWQ_HTTP_V1_BLOCKS.
    """

    def __init__(self, *, with_blocks: bool) -> None:
        self._with_blocks = with_blocks
        self._followers = {kind: self._followers_of(kind) for kind in Kind}

    def _followers_of(self, kind: Kind) -> FrameFollowers:
        as_entry: _AsEntry = {Kind.V1: _v1, Kind.V2: _v2, Kind.TASK: _task}[kind]

        def translator(run_id: RunId) -> Translate[bytes]:
            task = Task.find(bootstrap.engine(), str(run_id))
            take = task.translator(with_blocks=self._with_blocks).take

            def translate(event: Event) -> Iterable[Entry[bytes]]:
                return [found for one in take(event) if (found := as_entry(one)) is not None]

            return translate

        return frame_followers(translator)

    def answer(
        self, kind: Kind, task_id: str, caller: Caller, last_event_id: str | None = None
    ) -> Response:
        """Return the stream of a task; for v1, an error is a frame, too.

        Raises:
            PuppyException: there is no such task, or the caller may not see it: with the status of
                a stream `EventSource` would reconnect for ever.
            InvalidInput: `last_event_id` is no id of an event.
        """
        try:
            task = Task.find(bootstrap.engine(), task_id, caller.sees)
        except PuppyException as error:
            if kind is not Kind.V1:
                raise
            return _refused(error)
        if last_event_id == "end":
            return Response(status_code=204)  # so that a browser does not reconnect
        if last_event_id:
            position(last_event_id.partition("+")[0])
        begin = b"" if kind is Kind.V1 else RETRY
        return EventStream(self._followers[kind], task.id, last_event_id or None, begin=begin)


def _v1(one: Frame) -> Entry[bytes] | None:
    return None if one.v1 is None else frame(one.id, json.dumps(one.v1), has_id=False)


def _v2(one: Frame) -> Entry[bytes]:
    return frame(one.id, json.dumps(one.v2), one.v2["event_type"])


def _task(one: Frame) -> Entry[bytes]:
    old = one.v2["event_type"]
    name = _RENAMED.get(old) or old.replace(_OLD, "TASK_")
    return frame(one.id, json.dumps(one.v2 | {"event_type": name}), name)


def _refused(error: PuppyException) -> Response:
    message = "Access denied or task not found"
    data = {"error": error.cause, "message": message, "is_complete": True}
    sent = format_sse_event(data_str=json.dumps(data))
    return Response(sent, media_type="text/event-stream", headers=HEADERS)
