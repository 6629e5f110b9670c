"""The page of one step: `/flows/<id>/step/<key>`, and of one item of a map: `…/<key>[<index>]`.

Every node, row, bar and error of a run's page links to it. It shows what the step was given and
what it returned, each attempt, each call of a model, the text that it streams, and why it waits.
Content is read only if FLOWQ_SHOW_CONTENT allows it.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tornado.web import HTTPError, authenticated

from flowq.core.errors import RunNotFound, Unavailable
from flowq.core.events import StreamChunk, StreamStarted
from flowq.core.ids import RunId, child_run_id
from flowq.core.spec import StepKind
from flowq.core.states import TERMINAL_RUN_STATES, TERMINAL_STEP_STATES, StepState
from flowq.core.text.escaping import escaped
from flowq.engine.advance.resolve import copies_of
from flowq.engine.engine import Engine
from flowq.engine.events.follow import follow
from flowq.engine.model.actions import ActionView
from flowq.engine.queries.run_page import RunPage
from flowq.engine.queries.step_page import StepPage
from flowq.engine.waits.reasons import Waiting
from flowq.entrypoints.flower import html
from flowq.entrypoints.flower.pages.run.logs import LastLines, last_lines
from flowq.entrypoints.flower.pages.run.page import RunPageHandler
from flowq.entrypoints.flower.pages.run.request import RunQuery, read_page, run_id_of
from flowq.entrypoints.flower.pages.run.values import ShownInputs, shown_inputs
from flowq.entrypoints.flower.pages.run.waits import waits_of

_ITEM: Final = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)
#: Events of runs with more step runs are not searched for text, nor for longer than this.
_MAX_FOLLOWED: Final = 2_000
_PATIENCE: Final = 1.0
#: Bytes of a result that Flower loads for a download.
_MAX_BYTES: Final = 64 * 1024 * 1024
#: What is shown of the metadata of a step in other places.
_SHOWN_APART: Final = frozenset({"traceback", "causes", "item"})


@dataclass(frozen=True, slots=True)
class StepContent:
    """What a page shows of a step only with FLOWQ_SHOW_CONTENT.

    Attributes:
        inputs: What it was given.
        output: What it has returned, as JSON for people; None without a result.
        texts: The text that its last attempt has streamed, by the number of the stream.
        metadata: What else its row has.
    """

    inputs: ShownInputs
    output: str | None
    texts: Mapping[int, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadStep:
    """The data of the page."""

    page: RunPage
    step: StepPage
    kind: StepKind
    waits: list[Waiting]
    content: StepContent | None
    sent: ActionView | None
    logs: LastLines | None


class StepHandler(RunPageHandler):
    """`/flows/<id>/step/<key>`."""

    @authenticated
    async def get(self, text: str, label: str) -> None:
        """Show a step, or an item of a map."""
        run_id = run_id_of(text)
        found = await self.read(partial(_read, run_id=run_id, label=label, asked=self.run_query()))
        step, run = found.step, found.page.run
        is_over = run.status in TERMINAL_RUN_STATES
        has_child = found.kind is StepKind.FLOW and step.map_size is None and step.attempt > 0
        self.show(
            "run_step",
            run=run,
            step=step,
            kind=found.kind,
            waits=found.waits,
            content=found.content,
            sent=found.sent,
            logs=found.logs,
            log_attempts=_numbers(found.step),
            escaped=escaped,
            child=child_run_id(step.id) if has_child else None,
            task=self.task_of(step.id),
            worker_of=self.worker_of,
            attempts=attempts_of(step),
            is_open=step.status not in TERMINAL_STEP_STATES,
            live=None if is_over else self.reverse_url("flow-live", run.id),
        )


class StepOutput(RunPageHandler):
    """`/flows/<id>/output/<key>`: the result of a step, as it is stored."""

    @authenticated
    async def get(self, text: str, label: str) -> None:
        """Send a file.

        Raises:
            HTTPError: content is not shown, there is none, or it is too large.
        """
        if not self.shows_content:
            raise HTTPError(403, "outputs are hidden: FLOWQ_SHOW_CONTENT=1 shows them")
        data, media_type = await self.read(partial(_stored, run_id=run_id_of(text), label=label))
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", media_type)
        self.set_header("Content-Disposition", "attachment")
        self.finish(data)


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """An attempt, as a row of the page."""

    number: int
    status: str
    began: Any
    ended: Any
    worker: str | None
    error_type: str | None
    error: str | None


def attempts_of(step: StepPage) -> list[ShownAttempt]:
    """Return the attempts of a step, the last one first."""
    found = [
        ShownAttempt(
            one.number,
            one.outcome,
            one.started_at,
            one.ended_at,
            one.worker,
            one.error_type,
            one.error,
        )
        for one in step.past
    ]
    is_new = step.attempt_at is not None and (
        not step.past or step.attempt_at > step.past[-1].started_at
    )
    if is_new and step.map_size is None:
        last = (step.worker, step.error_type, step.error_message)
        found.append(
            ShownAttempt(step.attempt, step.status, step.attempt_at, step.completed_at, *last)
        )
    return found[::-1]


def find(engine: Engine, run_id: RunId, label: str) -> StepPage:
    """Return the step that people name so.

    Raises:
        RunNotFound: the run has no such step.
    """
    item = _ITEM.fullmatch(label)
    places = [(label, None), *([(item[1], int(item[2]))] if item else [])]
    for key, index in places:
        step = engine.records.autocommit(partial(_step_page, run_id=run_id, key=key, index=index))
        if step is not None:
            return step
    raise RunNotFound(f"run {run_id} has no step {label!r}", hint="open the run's own page")


def _step_page(tx: Any, run_id: RunId, key: str, index: int | None) -> StepPage | None:
    found: StepPage | None = tx.overview.step_page(run_id, key, index)
    return found


def _read(engine: Engine, run_id: RunId, label: str, asked: RunQuery) -> ReadStep:
    page = read_page(engine, run_id)
    step = find(engine, run_id, label)
    known = engine.definitions.shown(run_id).definition.spec.by_key.get(step.key)
    kind = step.kind or (known.kind if known else StepKind.STEP)
    waits = [] if step.status in TERMINAL_STEP_STATES else waits_of(engine, page)
    names = {None, step.key, step.label}
    return ReadStep(
        page=page,
        step=step,
        kind=kind,
        waits=[one for one in waits if one.step in names],
        content=_content(engine, page, step) if asked.shows_content else None,
        logs=last_lines(engine, page, step, asked.attempt) if asked.shows_content else None,
        sent=_sent(engine, run_id, step) if kind is StepKind.SIGNAL else None,
    )


def _sent(engine: Engine, run_id: RunId, step: StepPage) -> ActionView | None:
    return engine.records.autocommit(lambda tx: tx.actions.of_signal(run_id, step.id))


def _numbers(step: StepPage) -> list[int]:
    """Return the numbers of attempts among which people choose: the last ten, if there are two."""
    numbers = sorted({one.number for one in attempts_of(step)})[-10:]
    return numbers if len(numbers) > 1 and step.map_size is None else []


def _content(engine: Engine, page: RunPage, step: StepPage) -> StepContent:
    run = page.run
    inputs = shown_inputs(engine, run.id, step, run.inputs)
    is_done = step.status is StepState.COMPLETED
    output = html.as_json(step.outputs) if is_done and step.map_size is None else None
    streams = {} if run.total > _MAX_FOLLOWED else _texts(engine, run.id, step)
    kept = {name: value for name, value in step.metadata.items() if name not in _SHOWN_APART}
    return StepContent(inputs, output, streams, kept)


def _texts(engine: Engine, run_id: RunId, step: StepPage) -> dict[int, str]:
    """Return what the last attempt of a step has streamed, as far as the events have it."""
    late = time.monotonic() + _PATIENCE
    found: dict[int, str] = {}
    try:
        for event in follow(engine, run_id, wait=False):
            if time.monotonic() > late:
                break
            if not isinstance(event, StreamStarted | StreamChunk):
                continue
            if (event.step, event.index, event.attempt) != (step.key, step.index, step.attempt):
                continue
            if isinstance(event, StreamStarted):
                found[event.stream] = ""
            elif event.offset == len(found.get(event.stream, "")):
                found[event.stream] = found.get(event.stream, "") + event.text
    except Unavailable:
        return {}
    return found


def _stored(engine: Engine, run_id: RunId, label: str) -> tuple[bytes, str]:
    step = find(engine, run_id, label)
    ref = step.result
    if ref is None or step.status is not StepState.COMPLETED:
        raise HTTPError(404, f"step {label} is {step.status} and has no result")
    if ref.size > _MAX_BYTES:
        raise HTTPError(413, f"the result has {ref.size:,} bytes: read it in Python or over HTTP")
    return b"".join(engine.results.stream(ref, copies_of(engine))), ref.media_type
