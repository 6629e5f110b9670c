"""Which messages are flowq's own, and which are calls of a flow or a step by its name."""

from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context

from flowq import flow, step
from flowq.entrypoints import direct_calls

RUN, STEP = "01a2237c-1af9-7071-807b-808510492a23", "01a2237c-1af9-7071-807b-8086b14cd3e2"


@step
def add(left: int, right: int = 1) -> int:
    return left + right


@flow
def summed(left: int) -> int:
    return add(left)


@pytest.mark.parametrize(
    "task_id, root_id, args, kwargs, ours",
    [
        (STEP, RUN, (), {}, True),
        (STEP, RUN, (1,), {}, False),
        (STEP, RUN, (), {"left": 1}, False),
        (STEP, STEP, (), {}, False),  # an app whose ids are of version 7 too
        ("8bd66644-7ae6-4651-beda-f6ce8a73f83d", RUN, (), {}, False),
        ("report-2026-11-28", None, (), {}, False),
        (None, None, (), {}, False),
    ],
)
def test_only_an_id_of_a_step_run_without_arguments_is_ours(
    task_id: str | None, root_id: str | None, args: Any, kwargs: Any, *, ours: bool
) -> None:
    request = Context(id=task_id, root_id=root_id)

    assert direct_calls.is_message_of_step(request, args, kwargs) is ours


@pytest.mark.parametrize(
    "task_id, key",
    [
        ("t-1", "celery:t-1"),
        (None, None),  # called as a function, where no message can come twice
        ("t" * 255, "celery:" + "…" * 64),
    ],
)
def test_id_of_a_message_is_the_key_of_its_run(
    monkeypatch: pytest.MonkeyPatch, task_id: str | None, key: str | None
) -> None:
    given: list[Any] = []

    class Started:
        id = RUN

    def submit(_flow: object, inputs: Any, *, idempotency_key: str | None) -> Started:
        given.append((dict(inputs), idempotency_key))
        return Started()

    monkeypatch.setattr("flowq.client.submit", submit)
    app = Celery("test", set_as_current=False)

    @app.task(bind=True, name=summed.type.name, shared=False)
    def task(self: Any, *args: Any, **kwargs: Any) -> Any:
        return direct_calls.call_directly(self, args, kwargs)

    task.push_request(id=task_id)
    try:
        assert task.run(5) == RUN
    finally:
        task.pop_request()

    [(inputs, used)] = given
    assert inputs == {"left": 5}
    assert (used if key is None or "…" not in key else key) == key
    assert used is None or len(used) <= 200
