"""What is measured of flowq: steps that do nothing, so that everything else is what costs."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
import logging
import time

import flowq
from benchmarks.servers import EVENTS
from flowq import flow, step

log = logging.getLogger(__name__)

app = flowq.celery_app()
app.conf.worker_prefetch_multiplier = 4  # Celery's default, as the other side has it
app.conf.worker_send_task_events = EVENTS


@step
def noop(x: int) -> int:
    """Return the input."""
    return x


@step
def numbers(n: int) -> list[int]:
    """Return a list to map over."""
    return list(range(n))


@step
def count(xs: list[int]) -> int:
    """Return how many there are."""
    return len(xs)


@step
def last(a: int, b: int, c: int) -> int:
    """Join three."""
    return max(a, b, c)


@step
async def nap(x: int) -> int:
    """Wait for a second, as for a model's answer."""
    await asyncio.sleep(1)
    return x


@step
def pause(seconds: float, before: float = 0.0) -> float:
    """Take some time."""
    time.sleep(seconds)
    return before + seconds


@step
def block(size: int) -> bytes:
    """Return many bytes."""
    return bytes(size)


@step
def send_elsewhere(data: bytes) -> bytes:
    """Return the same bytes."""
    return data


@step
def size(data: bytes) -> int:
    """Return how many bytes there are."""
    return len(data)


@step
def either(a: float, b: float) -> float:
    """Join two."""
    return max(a, b)


@flow
def fan_out(n: int) -> int:
    """1 → n → 1."""
    return count(noop.map(numbers(n)))


@flow
def literal(n: int) -> int:
    """1 → n → 1, over a list that is known at the submission."""
    return count(noop.map(list(range(n))))


@flow
def listed(numbers: list[int]) -> int:
    """Do the same over a list that is an input."""
    return count(noop.map(numbers))


@step
def log_lines(x: int, lines: int) -> int:
    """Log some lines; a worker with Celery's own level takes warnings."""
    for number in range(lines):
        log.warning("line %d of step %d", number, x)
    return x


@flow
def logging_fan_out(n: int, lines: int) -> int:
    """1 → n → 1, of steps that log."""
    return count(log_lines.map(numbers(n), lines=lines))


@flow
def chain(n: int) -> int:
    """A chain of n."""
    value = noop(0)
    for _ in range(n - 1):
        value = noop(value)
    return value


@flow
async def program(n: int) -> int:
    """A chain of n, awaited one after the other."""
    value = 0
    for _ in range(n):
        value = await noop(value)
    return value


@flow
async def local_program(n: int) -> int:
    """Run the same steps in the program's own process."""
    value, here = 0, noop.options(local=True)
    for _ in range(n):
        value = await here(value)
    return value


@flow
async def mapped(n: int) -> int:
    """A map of n in a program."""
    return len(await noop.map(list(range(n))))


@flow
def diamond(x: int) -> int:
    """1 → 3 → 1."""
    top = noop(x)
    return last(noop(top), noop(top), noop(top))


@flow
def naps(n: int) -> int:
    """N waits of a second at once."""
    return count(nap.map(list(range(n))))


@step
def rest(x: int) -> int:
    """Sleep for 100 ms."""
    time.sleep(0.1)
    return x


@flow
def rests(n: int) -> int:
    """N sleeps of 100 ms at once."""
    return count(rest.map(list(range(n))))


@flow
def large(n: int, size_each: int) -> int:
    """A chain of n steps that pass many bytes on."""
    data = block(size_each)
    for _ in range(n - 1):
        data = send_elsewhere(data)
    return size(data)


@flow
def uneven() -> float:
    """Ten steps of 0.1 s in a row beside one of 1 s, joined: the critical path is 1 s."""
    row = pause(0.1)
    for _ in range(9):
        row = pause(0.1, row)
    return either(pause(1.0), row)


@flow
def chains(count: int, length: int) -> list[int]:
    """Run some chains side by side."""
    ends = []
    for start in range(count):
        x = start
        for _ in range(length):
            x = noop(x)
        ends.append(x)
    return ends
