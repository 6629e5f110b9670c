"""Workflows beside the same flows in Python: what a document, a row and a part of rows cost."""

# A `def` step is typed as what it returns, and may be given a Ref.
# mypy: disable-error-code="no-any-return"

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any

import flowq
from benchmarks import servers
from flowq import flow
from flowq.workflows import Workflow, WorkflowRunner, step_type

app = flowq.celery_app()
#: A row of the table of `python -m benchmarks`.
Figure = tuple[str, str, str, str, str]
_ROWS = 10_000


@step_type("bench_inc")
def inc(value: int, by: int = 1) -> int:
    """Return a number that is larger."""
    return value + by


@step_type("bench_same", execution_mode="row_iterative")
def same(value: int) -> int:
    """Return a row as it is."""
    return value


@step_type("bench_nap", execution_mode="row_iterative")
def nap(value: int) -> int:
    """Wait for 50 ms."""
    time.sleep(0.05)
    return value


@flow
def hundred(value: int) -> int:
    """Increase a number by a hundred steps."""
    for _ in range(100):
        value = inc(value, by=1)
    return value


@flow
def mapped(values: list[int]) -> list[int]:
    """Return all rows as they are."""
    return same.map(values)


def chain(count: int) -> dict[str, Any]:
    """Return a workflow of steps that increase a number."""
    steps = [{"id": f"s{number}", "type_slug": "bench_inc"} for number in range(count)]
    return {"name": "chain", "steps": steps}


def by_rows(slug: str, **strategy: Any) -> Workflow:
    """Return a workflow of one step over rows."""
    step: dict[str, Any] = {"id": "rows", "type_slug": slug}
    if strategy:
        step["execution_strategy"] = strategy
    return Workflow.from_dict({"name": "rows", "steps": [step]})


def rows() -> Iterator[Figure]:
    """Yield the rows of the table."""
    yield _reading()
    with servers.worker("benchmarks.workflows", "prefork", 2):
        yield _batch_steps()
        yield from _rows()
    yield _more_workers()


def _reading() -> Figure:
    text = json.dumps(chain(1_000))
    taken = _in_turns(lambda: Workflow.from_json(text, check=True), rounds=9)[0] * 1000
    return ("read and check a workflow of 1,000 steps", "", f"{taken:.0f} ms", "", "<= 60 ms")


def _batch_steps() -> Figure:
    workflow = Workflow.from_dict(chain(100))
    python, ours = _in_turns(
        lambda: hundred.enqueue(value=0).result(timeout=300), lambda: _run(workflow, 0), rounds=9
    )
    return ("100 batch steps, against a flow", *_times(python, ours), "<= 1.1x")


def _rows() -> Iterator[Figure]:
    values = list(range(_ROWS))
    each, parts = by_rows("bench_same"), by_rows("bench_same", workers=4)
    python, ours, few = _in_turns(
        lambda: mapped.enqueue(values=values).result(timeout=300),
        lambda: _run(each, values),
        lambda: _run(parts, values),
        rounds=2,
    )
    yield (f"{_ROWS:,} rows, against step.map", *_times(python, ours), "<= 1.05x")
    faster = f"{ours:.2f} s", f"{few:.2f} s", f"{ours / few:.0f}x faster"
    yield (f"{_ROWS:,} rows in 4 parts, against one by one", *faster, ">= 5x faster")


def _more_workers() -> Figure:
    """Compare one worker of two threads with two, on 200 rows of 50 ms in four parts."""
    workflow, taken = by_rows("bench_nap", workers=4), []
    for count in (1, 2):
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(servers.worker("benchmarks.workflows", "threads", 2))
            taken += _in_turns(lambda: _run(workflow, list(range(200))), rounds=3)
    one, two = taken
    faster = f"{one:.2f} s", f"{two:.2f} s", f"{one / two:.2f}x faster"
    return ("200 rows of 50 ms in 4 parts, 2 workers against 1", *faster, ">= 1.8x faster")


def _run(workflow: Workflow, value: Any) -> None:
    WorkflowRunner().enqueue(workflow, {"value": value}).result(timeout=300)


def _in_turns(*works: Callable[[], object], rounds: int) -> list[float]:
    """Return the median times in seconds of works that are done in turns, after one of each."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for work, mine in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            if number:
                mine.append(time.perf_counter() - began)
    return [median(mine) for mine in times]


def _times(python: float, ours: float) -> tuple[str, str, str]:
    return f"{python:.2f} s", f"{ours:.2f} s", f"{ours / python:.2f}x"
