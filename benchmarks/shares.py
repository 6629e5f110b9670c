"""Fair shares: how long a small tenant waits behind a large one, and what fairness costs it."""

# A `def` step is typed as what it returns, and may be given a Ref.
# mypy: disable-error-code="no-any-return"

import time
from collections.abc import Iterator
from typing import Any

import flowq
from benchmarks import servers
from flowq import Flow, flow, step

app = flowq.celery_app()
#: A row of the table of `python -m benchmarks`.
Figure = tuple[str, str, str, str, str]
_LARGE, _SMALL, _ALONE = 5_000, 10, 1_000


@step
def work(item: int, tenant: str) -> str:
    """Take 5 ms."""
    time.sleep(0.005)
    return f"{tenant} {item}"


@flow
def at_once(tenant: str, items: int) -> list[str]:
    """Work on items; all of them are sent at once."""
    return work.map(list(range(items)), tenant=tenant)


@flow(fair_by="tenant")
def in_turn(tenant: str, items: int) -> list[str]:
    """Work on items; the tenants take turns."""
    return work.map(list(range(items)), tenant=tenant)


def rows() -> Iterator[Figure]:
    """Yield the rows of the table."""
    with servers.worker("benchmarks.shares", "prefork", 2):
        for wanted in (at_once, in_turn):
            wanted.enqueue(tenant="first", items=50).result(timeout=60)
        behind = _seconds_behind(at_once)
        fair = _seconds_behind(in_turn)
        yield (
            f"{_SMALL} items of one tenant behind {_LARGE:,} of another",
            f"{behind:.2f} s",
            f"{fair:.2f} s",
            f"{fair / behind:.3f}x",
            "a window of 20",
        )
        # In turns, since other programs make each of them slower at times.
        times = [(_seconds_alone(at_once), _seconds_alone(in_turn)) for _ in range(3)]
        alone, share = (min(each) for each in zip(*times, strict=True))
        yield (
            "items of a tenant who is alone",
            f"{_ALONE / alone:.0f}/s",
            f"{_ALONE / share:.0f}/s",
            f"{alone / share:.2f}x",
            ">= 0.95x",
        )


def _seconds_behind(wanted: Flow[..., Any]) -> float:
    """Return how long the items of a small tenant take that come after those of a large one."""
    large = wanted.enqueue(tenant="large", items=_LARGE)
    began = time.perf_counter()
    wanted.enqueue(tenant="small", items=_SMALL).result(timeout=300)
    taken = time.perf_counter() - began
    large.result(timeout=300)
    return taken


def _seconds_alone(wanted: Flow[..., Any]) -> float:
    began = time.perf_counter()
    wanted.enqueue(tenant="large", items=_ALONE).result(timeout=300)
    return time.perf_counter() - began
