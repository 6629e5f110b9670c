"""flowq inside a Celery worker: the tasks, the heartbeat and the sweeper.

Every step type is a Celery task under its own name, so `task_routes`, queues and Flower's filters
work as they do for any task. The id of the task is the id of the step run, and the message has
nothing else. `install` puts this on an app that exists and leaves the app's own tasks and settings
alone.
"""

import gc
import logging
import os
from importlib import import_module
from typing import Any
from uuid import UUID

from celery import Celery, Task, _state, bootsteps, signals
from celery.exceptions import Ignore, Reject, Retry, TaskPredicate
from celery.states import SUCCESS

from flowq import bootstrap
from flowq.adapters.dispatch.celery import ADVANCE, COLLECT, SCHEDULE, START
from flowq.adapters.dispatch.kombu_patches import patch_kombu
from flowq.core.errors import FlowqError, StepError, Unavailable
from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.engine.advance.after import batch_ended, not_claimed
from flowq.engine.attempts.following import run_following
from flowq.engine.attempts.outages import retry_on_outage
from flowq.engine.attempts.outcomes import AttemptEnding, AttemptResult
from flowq.engine.attempts.release import send_elsewhere
from flowq.engine.attempts.run import run_attempt
from flowq.engine.engine import Engine
from flowq.engine.registry.registry import registry
from flowq.engine.runtime.causes import message_of
from flowq.engine.runtime.heartbeat import this_process_is_expendable
from flowq.engine.schedules.requested import start_requested
from flowq.engine.schedules.starting import start_due
from flowq.engine.sweeper.retention import collect
from flowq.engine.sweeper.sweep import Sweeper
from flowq.entrypoints import worker_aborts
from flowq.entrypoints.direct_calls import call_directly, is_message_of_step
from flowq.entrypoints.escaping import guard
from flowq.entrypoints.shutdown import (
    WorkerProcess,
    fetched,
    requeue,
)
from flowq.entrypoints.task_names import TaskNames
from flowq.entrypoints.unknown_steps import UnknownSteps
from flowq.entrypoints.worker_events import EventBatching, report, send_events
from flowq.entrypoints.worker_logs import keep_logs

logger = logging.getLogger(__name__)

#: Seconds. Celery keeps a message with a countdown in a worker's memory; the sweeper reads a row.
_MAX_COUNTDOWN = 60.0
#: Characters of an error that Celery gets.
_MAX_TEXT_LENGTH = 4000
_STOPPING = "this worker has to stop"
_LIMITED = "a limit is reached"
#: Only for the main process of a worker; a client need not import them.
_REQUESTS = "flowq.entrypoints.worker_requests"

_installed: list[Celery] = []
_main: list[int] = []


def celery_app(name: str = "flowq") -> Celery:
    """Return a Celery app with flowq installed, on FLOWQ_REDIS_URL or the embedded Valkey.

    Put `app = flowq.celery_app()` into the module of your flows, and `celery -A that.module worker`
    finds it.
    """
    return install(bootstrap.new_app(name))


def install(app: Celery) -> Celery:
    """Put flowq on a Celery app: steps become its tasks, its workers sweep, it sends the runs.

    Settings of the app are unchanged; `flowq docs settings` lists those worth having. Small results
    are kept in the app's own broker, unless FLOWQ_REDIS_URL names another Redis.

    Returns:
        The same app.
    """
    if app in _installed:
        return app
    _installed.append(app)
    patch_kombu()
    _connect_signals()
    bootstrap.use_app(app)
    own = f"{_REQUESTS}:OwnRequest"
    app.task(name=ADVANCE, ignore_result=True, shared=False, Request=own)(_advance)
    app.task(name=COLLECT, ignore_result=True, shared=False, Request=own)(_collect)
    app.task(name=SCHEDULE, ignore_result=True, shared=False, Request=own)(_schedule)
    app.task(name=START, ignore_result=True, shared=False, Request=own)(_start)
    names = task_names(app)
    names.check_when_finalized()
    import_module(
        "flowq.builtin"
    )  # for workers: a client that imports this module need not load it
    registry.on_name(lambda name: _add_task(app, names, name), names.forget)
    app.steps["worker"].add(SweeperStep)
    app.steps["consumer"].add(EventBatching)
    app.steps["consumer"].add(UnknownSteps)
    return app


def task_names(app: Celery) -> TaskNames:
    """Return the names of an app's tasks, flowq's own among them."""
    return TaskNames(app, _OWN)


def _add_task(app: Celery, names: TaskNames, name: str) -> None:
    names.check([name])
    task = app.task(
        name=name,
        bind=True,
        shared=False,
        # Messages of flowq ignore the result; a direct call of the task may need it.
        ignore_result=False,
        acks_late=False,
        max_retries=None,
        # flowq logs failures itself: as an ERROR, or as a WARNING where the flow tolerates them.
        throws=(Exception,),
        Request=f"{_REQUESTS}:StepRequest",
    )
    task(_run_step)


def _advance(batch: str) -> None:
    """Advance a run after one of its batches has ended."""
    engine = bootstrap.engine()
    retry_on_outage(engine, lambda _: batch_ended(engine, BatchId(batch)), stop=True)


def _collect() -> None:
    """Delete old data; after an outage of a store the next pass continues at the same place."""
    try:
        collect(bootstrap.engine())
    except Unavailable as error:
        logger.warning(
            "retention stops until its next turn: %s", error, extra={"action": "collect"}
        )


def _schedule(name: str) -> None:
    """Start what is due of a schedule; after an outage the sweeper asks again."""
    try:
        start_due(bootstrap.engine(), name)
    except Unavailable as error:
        extra = {"action": "schedule", "schedule": name}
        logger.warning("schedule %s is left to the sweeper: %s", name, error, extra=extra)


def _start(run_id: str) -> None:
    """Start a requested run; after an outage the sweeper asks again."""
    try:
        start_requested(bootstrap.engine(), RunId(UUID(run_id)))
    except Unavailable as error:
        extra = {"action": "start", "run_id": run_id}
        logger.warning("run %s is left to the sweeper: %s", run_id, error, extra=extra)


def _run_step(task: "Task[Any, Any]", *args: Any, **kwargs: Any) -> Any:
    """Run one attempt of the step run with this task's id, or a direct call."""
    worker_aborts.begins(task)
    if not is_message_of_step(task.request, args, kwargs):
        return call_directly(task, args, kwargs)
    error: BaseException | None = None
    try:
        engine = bootstrap.engine()
        with _process.watch(engine):
            error = _run_watched(task, engine)
    except TaskPredicate:
        raise  # raised for Celery on purpose
    except Exception:
        text = "%s[%s] could not be run; the sweeper will handle it"
        logger.exception(text, task.name, task.request.id, extra={"action": "run"})
        raise
    if error is not None:
        if task.request.group is not None:
            _count_in_chord(task)
        raise _plain(error)
    return None


def _count_in_chord(task: "Task[Any, Any]") -> None:
    """Count a failed member of a chord as done: the chord completes, and the row has the failure.

    Otherwise Celery would fail the whole chord, and log a traceback.
    """
    try:
        task.backend.on_chord_part_return(task.request, SUCCESS, None)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the result backend
        logger.warning("a chord is left to the sweeper: %s", error, extra={"action": "chord"})
    task.request.chord = None


#: The functions of flowq's own tasks.
_OWN = (_advance, _collect, _schedule, _start, _run_step)


def _run_watched(task: "Task[Any, Any]", engine: Engine) -> BaseException | None:
    """Run an attempt; return the error if its step has finally failed."""
    step_id = StepRunId(UUID(task.request.id))
    root = task.request.root_id
    run_id = RunId(UUID(root)) if root else None
    in_chord = task.request.group is not None
    if engine.leases.stopping:
        send_elsewhere(engine, step_id)
        _comes_again(_STOPPING, in_chord=in_chord)
        return None
    sender = task.request.get("traceparent")
    ended = run_attempt(engine, step_id, run_id, in_chord=in_chord, traceparent=sender)
    if ended.program is not None or ended.calls:
        report(task, run_following(engine, ended))
    if ended.ending is AttemptEnding.NOT_CLAIMED and not in_chord:
        retry_on_outage(engine, lambda _: not_claimed(engine, step_id), stop=True)
    elif ended.ending is AttemptEnding.RELEASED:
        _comes_again(_STOPPING, in_chord=in_chord)
    elif ended.ending is AttemptEnding.RETRYING or (
        ended.ending is AttemptEnding.DEFERRED and ended.delay is not None
    ):
        _retry(task, ended)
    elif ended.ending is AttemptEnding.DEFERRED:
        _comes_again(_LIMITED, in_chord=in_chord)
    elif ended.ending is AttemptEnding.FAILED and ended.error is not None:
        return ended.error
    elif ended.ending is AttemptEnding.CANCELLED:
        # The event that Celery sends for a task that it has revoked; no other event follows.
        task.send_event("task-revoked", terminated=False, signum=None, expired=False)
        raise Ignore(str(ended.error or "the run was cancelled"))
    return None


def _comes_again(why: str, *, in_chord: bool) -> None:
    """Report to Celery and Flower that the message of the step will be sent again.

    Not for a member of a chord: it would not be counted, and the body would never be called.
    """
    if not in_chord:
        raise Retry(why, when=0)  # type: ignore[arg-type]  # an int is a Real


def _plain(error: BaseException) -> Exception:
    """Return a step's error as one that Celery handles as a plain failure.

    A MemoryError, or an exception that is no `Exception`, would end the whole worker. `Reject` and
    the like would leave a member of a chord uncounted. A long message would go to all readers of
    task events.
    """
    text = message_of(error)
    takes_over = isinstance(error, MemoryError | TaskPredicate)
    if isinstance(error, Exception) and not takes_over and len(text) < _MAX_TEXT_LENGTH:
        return error
    said = StepError(f"{type(error).__name__}: {text}")
    return said.with_traceback(error.__traceback__)


def _retry(task: "Task[Any, Any]", ended: AttemptResult) -> None:
    """Send the message again after the delay: for another attempt, or for the turn of a rate.

    The row has that already. A step that waits for its turn has not failed, so it has no error.
    """
    assert ended.delay is not None
    error = _plain(ended.error or StepError(_LIMITED))
    countdown = ended.delay.total_seconds()
    later = Retry(exc=error, when=countdown)  # type: ignore[arg-type]  # a float is a Real
    if countdown > _MAX_COUNTDOWN:
        raise later from error
    # Flower shows this text; Celery would show the arguments, and there are none.
    shown: dict[str, Any] = {name: task.request.get(name) for name in ("argsrepr", "kwargsrepr")}
    try:
        raise task.retry(exc=error, countdown=countdown, max_retries=None, **shown)
    except Reject as unsent:
        # The broker is unavailable. The row has `wake_at`, and the sweeper reads it.
        logger.warning("the sweeper will send a retry: %s", unsent)
        raise later from error


def _names() -> frozenset[str]:
    """Return the names of flowq's tasks."""
    return frozenset({*registry.steps, *registry.flows, ADVANCE, COLLECT, SCHEDULE, START})


_process = WorkerProcess(_names)


class SweeperStep(bootsteps.StartStopStep):
    """Runs the sweeper while the worker runs.

    It is stopped after the consumer and before the pool.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        send_events(wanted=bool(parent.task_events))  # before its pool forks
        self._sweeper: Sweeper | None = None
        self._fetched: list[Any] = []

    def start(self, parent: Any) -> None:
        """Start the sweeper."""
        task_names(parent.app).check()
        engine = bootstrap.engine()
        keep_logs()
        _process.watch(engine)
        self._sweeper = Sweeper(engine, bootstrap.settings().sweep_pause, bootstrap.wakeups())
        self._sweeper.start()

    def close(self, _parent: Any) -> None:
        """Note what was fetched; called before the consumer ends, and forgets it."""
        self._fetched = fetched(_names())

    def stop(self, parent: Any) -> None:
        """Stop it, and requeue messages that were fetched and not begun."""
        if self._sweeper is not None:
            self._sweeper.stop()
        _process.notify()
        consumer = parent.consumer.task_consumer if parent.consumer else None
        if consumer is not None:
            requeue(consumer.channel, _names(), self._fetched)


def _connect_signals() -> None:
    """Connect the signals of workers in this process; may be called twice.

    Celery's signals are global to the process. So each receiver checks that the app of the worker
    has flowq, and does nothing otherwise.
    """
    signals.after_setup_logger.connect(_guard_log)
    signals.after_setup_task_logger.connect(_guard_log)
    signals.worker_init.connect(_prepare)
    signals.worker_process_init.connect(_prepare_child)
    signals.worker_process_shutdown.connect(_flush)
    signals.worker_shutting_down.connect(_ring)
    worker_aborts.connect(_is_step)


def _is_step(task: Any) -> bool:
    return task.app in _installed and (task.name in registry.steps or task.name in registry.flows)


def _guard_log(logger: logging.Logger, **_: Any) -> None:
    """Escape control characters of foreign text in the log."""
    guard(logger.handlers)


def _prepare(sender: Any, **_: Any) -> None:
    """Before a worker starts, create its pipe, and start the embedded Valkey if it uses that."""
    if sender.app not in _installed:
        return
    _main.append(os.getpid())  # in a solo pool this process runs the steps too
    _process.start()
    try:
        bootstrap.prepare_worker(sender.app)
    except FlowqError as error:
        # Celery would only log an error of a receiver.
        raise SystemExit(f"this worker cannot start: {error}") from error


def _prepare_child(**_: Any) -> None:
    """Prepare a process that runs tasks, before its first task."""
    if _state.get_current_app() not in _installed:
        return
    if os.getpid() not in _main:
        # A child of a prefork pool may be killed together with a step that ignores a cancel.
        this_process_is_expendable()
    keep_logs()
    # Objects from before the fork never become garbage.
    gc.freeze()


def _flush(**_: Any) -> None:
    """Send the last events and logs of a child of a prefork pool, which ends without `atexit`."""
    if _state.get_current_app() in _installed:
        bootstrap.flush_events()
        bootstrap.flush_logs()


def _ring(**_: Any) -> None:
    """Notify all processes of this worker; Celery calls this in a signal handler."""
    _process.notify()
