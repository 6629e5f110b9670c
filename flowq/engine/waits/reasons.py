"""Why open steps wait: decided from rows and from what is known of queues and workers. Pure.

All faces show these texts: `flowq runs show`, the pages of Flower, `ResultTimeout`, `doctor`. A
running step does not wait, unless its worker has not renewed its lease in time. `explain` reads the
rows and asks the workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from flowq.core.ids import RunId
from flowq.core.spec import StepKind
from flowq.core.states import BUDGET_STOPS, RunState, StepState, StopKind
from flowq.engine.model.waits import LimitWait, OpenStep, OpenSteps, WaitingSteps
from flowq.engine.ports import Worker

#: The part of a lease below which its worker has missed at least one renewal.
_RENEWED: Final = 0.5
_START: Final = (
    "start one: celery -A YOUR_APP worker; if your app has its own broker: flowq --app MODULE …"
)
#: A parked step is due in a hundred years.
_FAR: Final = timedelta(days=3650)


class Reason(StrEnum):
    """Why a step waits."""

    NO_WORKER = "no worker"  #: No worker that runs consumes its queue.
    NOT_REGISTERED = "not registered"  #: No worker that consumes it has registered the step.
    BACKLOG = "backlog"  #: Messages are in the queue, and workers that take them.
    SENT = "sent"  #: A worker has its message, or it was lost.
    NOT_SENT = "not sent"  #: The broker cannot be reached.
    LIMIT = "limit"
    SHARE = "share"  #: Enough steps of its share are in the queue.
    PAUSED = "paused"
    BUDGET = "budget"
    SIGNAL = "signal"
    SLEEP = "sleep"
    RETRY = "retry"
    CHILD_RUN = "child run"
    LOST_WORKER = "lost worker"
    START = "start"  #: The run has not begun: its time has not come.
    SINGLETON = "singleton"  #: Another run of its key is in flight.


#: The most serious first: the one that is shown for a run with several reasons.
_URGENCY: Final = (
    *(Reason.PAUSED, Reason.BUDGET, Reason.NOT_SENT, Reason.NO_WORKER, Reason.NOT_REGISTERED),
    *(Reason.SIGNAL, Reason.LOST_WORKER, Reason.LIMIT, Reason.BACKLOG, Reason.SENT),
    *(Reason.SHARE, Reason.RETRY, Reason.SLEEP, Reason.SINGLETON, Reason.START, Reason.CHILD_RUN),
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that a run waits for.

    Attributes:
        reason: The kind of reason.
        text: All of it, for people.
        hint: What to do, if anything can be done.
        step: The step, as people name it; None for the whole run.
        count: How many steps or items wait for it.
        state: The state of the step.
        queue: The queue of its message, if it is queued.
        since: When the wait began, as far as it is recorded.
        until: When the wait ends by itself, if that is known.
        run_id: The child run of the step; None for a step of the run itself.
        holder: The run that has what it waits for.
    """

    reason: Reason
    text: str
    hint: str | None = None
    step: str | None = None
    count: int = 1
    state: StepState | None = None
    queue: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    run_id: RunId | None = None
    holder: RunId | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain data; times and ids as they are."""
        return asdict(self)

    def __str__(self) -> str:
        who = "" if self.step is None else f"{self.step}: "
        more = f" (and {self.count - 1:,} more)" if self.count > 1 else ""
        return f"{who}{self.text}{more}"


@dataclass(frozen=True, slots=True)
class Queues:
    """What is known about queues and workers.

    Attributes:
        of: From a step's key to the queue of its messages.
        workers: The running workers; None when they were not asked.
        depths: From a queue to its number of messages.
        broken: Why the broker cannot be asked.
        asked: Whether workers were asked at all.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    workers: Sequence[Worker] | None = None
    depths: Mapping[str, int] = field(default_factory=dict)
    broken: str | None = None
    asked: bool = False


def merged(found: Sequence[Waiting]) -> list[Waiting]:
    """Return one value for steps that wait for the same; the most serious reason first."""
    kept: dict[tuple[object, ...], Waiting] = {}
    for one in found:
        # Calls of a program, and items, differ by the part after their name.
        name = one.step.partition("#")[0].partition("[")[0] if one.step else None
        same = (one.run_id, name, one.reason, one.text)
        first = kept.get(same)
        kept[same] = one if first is None else replace(first, count=first.count + one.count)
    return sorted(kept.values(), key=lambda one: _URGENCY.index(one.reason))


def reasons(
    rows: OpenSteps, queues: Queues, *, run_id: RunId, lease: timedelta
) -> Iterator[Waiting]:
    """Yield why open steps of a run wait. Pure; the caller handles child runs.

    Args:
        rows: The rows.
        queues: What is known of queues and workers.
        lease: The length of a lease.
    """
    if rows.status is RunState.PAUSED:
        yield _paused(rows, run_id)
        return
    if rows.status is RunState.RUNNING:
        for wait in rows.limits:
            yield _limited(wait)
    in_line = {wait.key for wait in rows.limits}
    for step in rows.steps:
        if step.index is None and step.key in in_line:
            continue  # items in a line are not among the items
        why = _why(step, rows, queues, run_id, lease)
        if why is not None:
            yield replace(
                why, step=label(step), count=step.count, state=step.state, since=step.since
            )


def _why(
    step: OpenStep, rows: OpenSteps, queues: Queues, run_id: RunId, lease: timedelta
) -> Waiting | None:
    match step.state:
        case StepState.QUEUED if step.share is not None:
            return _in_line(step)
        case StepState.QUEUED:
            return _queued(step, queues, rows.now)
        case StepState.RETRYING:
            return _retrying(step)
        case StepState.RUNNING:
            return _lost(step, rows.now, lease)
        case StepState.WAITING:
            return _asleep(step, run_id)
    return None


def _paused(rows: OpenSteps, run_id: RunId) -> Waiting:
    said = rows.error or "no reason was recorded"
    if rows.stop_kind in BUDGET_STOPS:
        hint = f"flowq runs raise-budget {run_id} --usd … | --tokens …"
        return Waiting(Reason.BUDGET, f"is paused: {said}", hint=hint)
    hint = f"flowq runs resume {run_id}"
    if rows.stop_kind is StopKind.CHANGED_CODE:
        hint = f"bring back the code of the recorded calls, then: {hint}"
    return Waiting(Reason.PAUSED, f"is paused: {said}", hint=hint)


def _limited(wait: LimitWait) -> Waiting:
    kind, _, name = wait.limit.partition(":")
    if wait.per is None:
        what = f"{wait.slots:,} at once"
    else:
        counted = "tokens" if kind.startswith("tokens") else "starts"
        what = f"{wait.slots:,} {counted} in {wait.per.total_seconds():g} s"
    text = f"waits for the limit {name!r} ({what}): "
    if wait.turn_at is not None:
        text += f"its turn is at {_moment(wait.turn_at)}"
    else:
        text += f"place {wait.place:,} of {wait.line:,} in line"
    if wait.holders:
        text += f"; held by {', '.join(map(str, wait.holders))}"
    return Waiting(
        Reason.LIMIT,
        text,
        step=wait.key,
        count=wait.count,
        state=StepState.QUEUED,
        since=wait.since,
        until=wait.turn_at,
    )


def _in_line(step: OpenStep) -> Waiting:
    # Without the share, which is an input: pages show this also if they do not show inputs.
    text = f"waits in the line of its share: enough of its {step.name!r} steps are in the queue"
    return Waiting(Reason.SHARE, text, hint="workers that claim those send the next")


def _queued(step: OpenStep, queues: Queues, now: datetime) -> Waiting | None:
    queue = queues.of.get(step.key)
    if queue is None or not queues.asked:
        return None
    if queues.broken is not None:
        text = f"its message cannot be sent yet: {queues.broken}"
        hint = "it is resent when the broker is back; see: flowq doctor"
        return Waiting(Reason.NOT_SENT, text, hint=hint, queue=queue)
    if queues.workers is not None and (found := lacks(step.name, queue, queues.workers)):
        return found
    queue = queue or _likely(step.name, queues.workers or ())
    if not queue:
        # This process has no app, so it does not know which of their queues that is.
        text = "a worker that has registered it takes it, or its message was lost"
        return Waiting(Reason.SENT, text)
    if depth := queues.depths.get(queue):
        text = f"{depth:,} messages are in the queue {queue!r}"
        if queues.workers is not None:
            count = sum(queue in worker.queues for worker in queues.workers)
            text += f" of {count:,} {'worker' if count == 1 else 'workers'}"
        return Waiting(Reason.BACKLOG, text, hint="start more workers", queue=queue)
    again = step.wake_at if step.wake_at and step.wake_at - now < _FAR else None
    text = f"a worker of the queue {queue!r} has its message, or the message was lost"
    if again is not None:
        text += f"; it is resent at {_moment(again)}"
    return Waiting(Reason.SENT, text, queue=queue, until=again)


def lacks(name: str, queue: str, workers: Sequence[Worker]) -> Waiting | None:
    """Return why no worker can run a step; None when one of them can.

    Args:
        name: The registered name of the step, or flow.
        queue: The queue of its messages; empty when this process does not have their app.
        workers: The running workers.
    """
    start = f"celery -A YOUR_APP worker -Q {queue}" if queue else _START
    if not workers:
        of = f" for the queue {queue!r}" if queue else ""
        text = f"no worker has answered; perhaps none is running{of}"
        return Waiting(Reason.NO_WORKER, text, hint=start, queue=queue or None)
    consumers = [worker for worker in workers if queue in worker.queues or not queue]
    if not consumers:
        text = f"no worker consumes the queue {queue!r}"
        return Waiting(Reason.NO_WORKER, text, hint=start, queue=queue)
    if any(name in worker.tasks for worker in consumers):
        return None
    which = f"of the queue {queue!r}" if queue else "that runs"
    text = f"no worker {which} has registered {name!r}"
    elsewhere = sorted(worker.name for worker in workers if name in worker.tasks)
    if elsewhere:
        text += f"; {', '.join(elsewhere[:3])} has, and does not consume that queue"
    hint = "start workers with the module that defines it"
    return Waiting(Reason.NOT_REGISTERED, text, hint=hint, queue=queue or None)


def _likely(name: str, workers: Sequence[Worker]) -> str:
    """Return the one queue that all workers with the registered step consume, if there is one."""
    queues = {queue for worker in workers if name in worker.tasks for queue in worker.queues}
    return queues.pop() if len(queues) == 1 else ""


def _retrying(step: OpenStep) -> Waiting:
    after = f" after {step.error_type}" if step.error_type else ""
    when = f" at {_moment(step.wake_at)}" if step.wake_at else ""
    return Waiting(Reason.RETRY, f"is retried{when}{after}", until=step.wake_at)


def _lost(step: OpenStep, now: datetime, lease: timedelta) -> Waiting | None:
    if step.lease_until is None or step.lease_until - now > lease * _RENEWED:
        return None
    who = f"its worker {step.worker}" if step.worker else "its worker"
    word = "lapses" if step.lease_until > now else "lapsed"
    text = (
        f"{who} has not renewed its lease, which {word} at {_moment(step.lease_until)}; "
        "then another worker takes it"
    )
    hint = "the sweeper of any running worker does that"
    return Waiting(Reason.LOST_WORKER, text, hint=hint, until=step.lease_until)


def _asleep(step: OpenStep, run_id: RunId) -> Waiting | None:
    """Return what a call of a program waits for that no worker runs."""
    until = f" until {_moment(step.wake_at)}" if step.wake_at else ""
    if step.kind is StepKind.SIGNAL:
        kind = _kind_of(step.wanted)
        text = f"waits for the signal {step.name!r}{f' ({kind})' if kind else ''}{until}"
        hint = f"flowq runs signal {run_id} {step.name} JSON"
        return Waiting(Reason.SIGNAL, text, hint=hint, until=step.wake_at)
    if step.kind is StepKind.TIMER:
        return Waiting(Reason.SLEEP, f"sleeps{until}", until=step.wake_at)
    return None  # programs wait for their calls, and parent steps for their child runs


def _kind_of(schema: Any) -> str:
    """Return in a few words what a message has to be."""
    if not isinstance(schema, Mapping):
        return ""
    names = ", ".join(map(str, list(schema.get("properties", ()))[:6]))
    title = str(schema.get("title") or schema.get("type") or "")
    return f"{title} with {names}" if names and title else title or names


def summarize(steps: Sequence[WaitingSteps]) -> str:
    """Return in a word or two what a run waits for, from its rows alone; for lists.

    Args:
        steps: All of its open steps.
    """
    found = {(one.state, one.kind): one for one in steps}
    signal = found.get((StepState.WAITING, StepKind.SIGNAL))
    if signal is not None:
        return f"signal {signal.name}"
    states = {one.state for one in steps if one.kind is not StepKind.TIMER}
    if StepState.QUEUED in states:
        queued = [one for one in steps if one.state is StepState.QUEUED]
        return "its share" if all(one.in_line for one in queued) else "a worker"
    for state, word in ((StepState.RETRYING, "retry"), (StepState.WAITING, "child run")):
        if state in states:
            due = [one.wake_at for one in steps if one.state is state and one.wake_at]
            return f"{word} at {_moment(min(due))}" if due else word
    due = [one.wake_at for one in steps if one.wake_at]
    return f"sleeps until {_moment(min(due))}" if due else ""


def begins_at(then: datetime, *, is_debounced: bool) -> Waiting:
    """Return that a run begins at a time."""
    unless = ", unless another run of its debounce key is enqueued" if is_debounced else ""
    return Waiting(Reason.START, f"begins at {_moment(then)}{unless}", until=then)


def summary_of_start(then: datetime | None) -> str:
    """Return in a word or two why a run has not begun; for lists."""
    return "another run of its key" if then is None else f"begins at {_moment(then)}"


def waits_for_run(flow_name: str, key: str, holder: RunId | None) -> Waiting:
    """Return that a run waits for its singleton key, which a run has or has just had."""
    # Without the key, which is an input: pages show this also if they do not show inputs.
    of = " of its key" if key else ""
    if holder is None:
        return Waiting(Reason.SINGLETON, f"is the next run of {flow_name!r}{of}; it begins soon")
    text = f"one run of {flow_name!r}{of} at a time: waits for run {holder}"
    return Waiting(Reason.SINGLETON, text, hint=f"flowq runs show {holder}", holder=holder)


def label(step: OpenStep) -> str:
    """Return a step as people name it; of several items the first."""
    return step.key if step.index is None else f"{step.key}[{step.index}]"


def _moment(then: datetime) -> str:
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
