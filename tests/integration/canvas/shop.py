"""Ordinary Celery tasks, which know nothing of flowq, and canvases of them run by it."""

from datetime import UTC, datetime
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore

from flowq import testing
from flowq.canvas import durable

app = Celery("shop", set_as_current=False)
#: What tasks have seen.
SEEN: list[Any] = []


@app.task
def join(*args: Any, **kwargs: Any) -> list[Any]:
    """Return what it was given, so that results show who got what, and in which order."""
    return [*args, *sorted(kwargs.items())]


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def see(*args: Any) -> None:
    SEEN.append(list(args))


@app.task
def fail(*_args: Any) -> None:
    raise ValueError("broken")


@app.task
def report(request: Any, error: BaseException, traceback: str | None) -> None:
    """An error callback in today's style."""
    SEEN.append([request.task, list(request.args), repr(error)[:10], traceback])


@app.task
def report_id(identity: str) -> None:
    """An error callback that takes the id alone."""
    SEEN.append(identity)


@app.task(bind=True, max_retries=3)
def flaky(self: Any, until: int, countdown: float = 60) -> list[int]:
    SEEN.append(self.request.retries)
    if self.request.retries < until:
        raise self.retry(countdown=countdown, exc=ConnectionError("not yet"))
    return [self.request.retries, self.max_retries]


@app.task(autoretry_for=(ConnectionError,), retry_backoff=2, retry_jitter=False, max_retries=2)
def auto(until: int) -> int:
    SEEN.append(None)
    if len(SEEN) <= until:
        raise ConnectionError("not yet")
    return len(SEEN)


@app.task(bind=True)
def shrink(self: Any, numbers: list[int]) -> Any:
    """Retry with other arguments until one number is left."""
    if len(numbers) > 1:
        raise self.retry(args=[numbers[1:]], countdown=1)
    return [numbers, self.request.retries]


@app.task(bind=True)
def instead(self: Any, number: int) -> Any:
    return self.replace(join.s(number, "first") | join.s("then"))


@app.task(bind=True)
def spread(self: Any, number: int) -> Any:
    from celery import group

    return self.replace(group(join.s(each) for each in range(number)))


@app.task(bind=True)
def give_up(self: Any) -> None:
    raise Ignore


@app.task(bind=True)
def who(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    request = self.request
    return {
        "id": request.id,
        "root": request.root_id,
        "args": request.args,
        "kwargs": request.kwargs,
        "retries": request.retries,
        "direct": request.called_directly,
        "eager": request.is_eager,
        "stamps": request.stamps,
        "headers": request.headers,
        "name": self.name,
    }


@app.task
def moment() -> Any:
    return {"at": datetime(2030, 1, 1, tzinfo=UTC), "raw": b"\x00\xff", "pair": (1, 2), 3: "key"}


@app.task
def thing() -> Any:
    return object()


@app.task
def years(value: dict[str, Any]) -> Any:
    """Needs the date that it is given as a date."""
    return value["at"].year, type(value["raw"]).__name__


class Handled(Task):
    """A base class with handlers and something that it keeps, as users write them."""

    abstract = True
    calls = 0

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        SEEN.append("before_start")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        SEEN.append(("on_success", retval))

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        SEEN.append(("on_retry", str(exc)))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        SEEN.append(("on_failure", str(exc)))

    def after_return(self, status: str, *_: Any) -> None:
        SEEN.append(("after_return", status))


@app.task(base=Handled, bind=True, max_retries=1)
def handled(self: Any, fails: int) -> int:
    self.calls += 1
    if self.request.retries < fails:
        raise self.retry(exc=ValueError("broken"), countdown=1)
    return int(self.calls)


@app.task(base=Handled)
def handled_failure() -> None:
    raise KeyError("lost")


def play(signature: Any) -> Any:
    """Run a canvas to its end, and return its result."""
    return testing.run(durable(signature).flow)
