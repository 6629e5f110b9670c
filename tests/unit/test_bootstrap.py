"""An app in Celery's eager mode: no run is started whose steps nobody would run."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from flowq import bootstrap, errors, flow, step
from flowq.testing import run


@step
def inc(number: int) -> int:
    return number + 1


@flow
def plus_two(number: int) -> int:
    return inc(inc(number))


@step
async def slow_inc(number: int) -> int:
    return number + 1


@flow
async def plus_one(number: int) -> Any:
    return await slow_inc(number)


@pytest.fixture(params=["conf", "django"])
def _eager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app of this process is in eager mode, set as Celery says or as Django's settings do."""
    app = Celery("shop", set_as_current=False)
    if request.param == "conf":
        app.conf.task_always_eager = True
    else:
        settings = SimpleNamespace(CELERY_TASK_ALWAYS_EAGER=True)
        app.config_from_object(settings, namespace="CELERY")
    monkeypatch.setattr(bootstrap._process, "app", app)

    def no_engine() -> None:
        raise AssertionError("the records are asked, and nothing may be recorded")

    monkeypatch.setattr(bootstrap, "engine", no_engine)


@pytest.mark.usefixtures("_eager")
def test_run_is_refused_before_anything_is_recorded() -> None:
    with pytest.raises(errors.InvalidFlow, match=r"'shop' has task_always_eager(.|\n)*testing"):
        plus_two.enqueue(number=1)
    with pytest.raises(errors.InvalidFlow, match="task_always_eager"):
        plus_two.enqueue_many([{"number": 1}])
    with pytest.raises(errors.InvalidFlow, match="task_always_eager"):
        plus_one.enqueue(number=1)
    with pytest.raises(errors.InvalidFlow, match="task_always_eager"):
        asyncio.run(plus_one.aenqueue(number=1))


@pytest.mark.usefixtures("_eager")
def test_what_the_error_names_works() -> None:
    assert run(plus_two, {"number": 1}) == 3
    assert run(plus_one, {"number": 1}) == 2
