"""Asking the workers of a Celery app what they consume and what they know.

That is Celery's own remote control (`celery inspect active_queues`, `registered`): a message that
every worker gets, and answers that arrive as long as one waits for them. Both are asked at once, in
threads of their own, so that the answer takes the time that the caller gives and no longer, also
when the broker does not answer at all. A worker that cannot answer now, since its only thread runs
a task (`--pool=solo`), is not among the answers.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, Final

from celery import Celery

from flowq.adapters.dispatch.addresses import broker_urls
from flowq.core.errors import BrokerUnavailable
from flowq.core.text.masking import masked, without_secrets
from flowq.engine.ports import Worker

_QUESTIONS: Final = ("active_queues", "registered")
#: For the connection itself, beside the time that workers have.
_CONNECTING: Final = 1.0


def inspect_workers(app: Celery, patience: timedelta) -> list[Worker]:
    """Return the workers that answer in time.

    Raises:
        BrokerUnavailable: the broker could not be asked in time.
    """
    seconds = patience.total_seconds()
    answers: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    for question in _QUESTIONS:
        threading.Thread(
            target=_ask, args=(app, question, seconds, answers), name="flowq-asks", daemon=True
        ).start()
    late = time.monotonic() + seconds + _CONNECTING
    found: dict[str, Mapping[str, Any]] = {}
    while len(found) < len(_QUESTIONS):
        try:
            question, answer = answers.get(timeout=max(0.0, late - time.monotonic()))
        except Empty:
            raise _not_asked(app, "it did not answer in time") from None
        if isinstance(answer, Exception):
            # It is not kept as a cause: errors about an address quote pieces of its password.
            raise _not_asked(app, f"{type(answer).__name__}: {answer}") from None
        found[question] = answer
    return [
        Worker(
            name,
            frozenset(str(queue["name"]) for queue in _listed(found["active_queues"][name])),
            # Celery writes options of a task behind its name: `add [rate_limit=10/s]`.
            frozenset(str(task).partition(" [")[0] for task in _listed(found["registered"][name])),
        )
        for name in _in_both(found.values())
    ]


def _in_both(answers: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(set[str].intersection(*(set(answer) for answer in answers)))


def _listed(answer: Any) -> list[Any]:
    return answer if isinstance(answer, list) else []  # else it says what went wrong there


def _ask(app: Celery, question: str, seconds: float, answers: SimpleQueue[tuple[str, Any]]) -> None:
    try:
        with app.connection_for_write() as connection:
            inspect = app.control.inspect(timeout=seconds, connection=connection)
            answers.put((question, getattr(inspect, question)() or {}))
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
        answers.put((question, error))


def _not_asked(app: Celery, why: str) -> BrokerUnavailable:
    urls = broker_urls(app)
    place = ";".join(map(masked, urls)) or f"of app {app.main!r}"
    return BrokerUnavailable(
        f"cannot reach workers through the broker {place}: {without_secrets(why, *urls)}",
        hint="check that the broker runs; then: flowq doctor",
    )
