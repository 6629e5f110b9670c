"""Flows that the acceptance tests run on real workers; workers import them through `worker_app`."""

import asyncio
import hashlib
import os
import time
from pathlib import Path
from typing import Any

from flowq import Rate, flow, step
from tests.tools.raising import raised


@step
def echo(value: Any) -> Any:
    return value


@step
def double(number: int) -> int:
    return 2 * number


@step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step(retries=3, retry_delay=0.01)
def flaky(fails: int) -> int:
    attempt = step.context().attempt
    if attempt <= fails:
        raise ConnectionError(f"attempt {attempt} lost")
    return attempt


@step
def fail(message: str) -> None:
    raise ValueError(message)


@step
def who(item: int = 0) -> dict[str, Any]:
    here = step.context()
    here.logger.warning("who says hello")
    return {"run": str(here.run_id), "key": here.key, "index": here.index, "pid": os.getpid()}


@step
async def who_async(item: int = 0) -> dict[str, Any]:
    await asyncio.sleep(0)
    here = step.context()
    return {"run": str(here.run_id), "key": here.key, "index": here.index, "pid": os.getpid()}


@step
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@step
def blocks(seconds: float) -> str:
    time.sleep(seconds)
    return "awake"


@step
def hold(folder: str) -> int:
    """Say who holds it, and wait to be let go."""
    place = Path(folder)
    (place / f"holding-{os.getpid()}").touch()
    deadline = time.monotonic() + 600
    while not (place / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.getpid()


@step
async def hold_async(folder: str) -> int:
    """As `hold`, on the event loop; says so when it is cancelled."""
    place = Path(folder)
    (place / f"holding-{os.getpid()}").touch()
    try:
        while not (place / "go").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        (place / "cancelled").touch()
        raise
    return os.getpid()


@step
def hold_on(folder: str) -> int:
    """As `hold`, and deaf to whatever is raised in it."""
    place = Path(folder)
    (place / f"holding-{os.getpid()}").touch()
    while not (place / "go").exists():
        try:
            time.sleep(0.01)
        except BaseException:  # noqa: BLE001 - as some people's code does
            (place / "deaf").touch()
    return os.getpid()


@flow
def fan(count: int) -> int:
    """A step, a map, a chord of two that differ, a join."""
    made = double.map(numbers(count))
    left = total.options(key="left")(made)
    right = total.options(key="right")(made)
    return total.options(key="joined")([left, right, flaky(2)])


@flow
def failing(message: str) -> Any:
    one = echo.options(key="before")(1)
    failed = fail.options(after=one)(message)
    return echo.options(key="after")(failed)


@flow
def half_failing(count: int) -> Any:
    """A chord of which one member fails, joined by a step that can live with it."""
    failed = fail.options(allow_failure=True)("half")
    good = [double.options(key=f"good{i}")(i) for i in range(count)]
    return echo.options(key="join")([failed, *good])


@flow
def flaky_map(count: int) -> Any:
    return total(flaky.map([1] * count))


@flow
def contexts(count: int) -> Any:
    return {"sync": who.map(list(range(count))), "async": who_async.map(list(range(count)))}


@flow
def naps(count: int, seconds: float) -> Any:
    return total.options(key="count")(double.map(nap_count.map([seconds] * count)))


@step
async def nap_count(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return 1


@step
def let_go(number: int, folder: str) -> int:
    """Wait for the file of its number."""
    while not (Path(folder) / str(number)).exists():
        time.sleep(0.01)
    return 1


@flow
def one_by_one(count: int, folder: str) -> Any:
    return total(let_go.map(list(range(count)), folder=folder))


@flow
def too_slow(kind: str) -> Any:
    if kind == "async":
        return nap.options(timeout=0.3)(600)
    return blocks.options(timeout=0.3)(600)


@flow
def holding(folder: str) -> int:
    return double(echo(hold(folder)))


@flow
def holding_async(folder: str) -> int:
    return double(echo(hold_async(folder)))


@flow
def holding_on(folder: str) -> int:
    return double(echo(hold_on(folder)))


@flow
def parent(number: int) -> Any:
    return echo([child(number), child.options(key="other")(number + 1)])


@flow
def child(number: int) -> int:
    return double(double(number))


@flow
def large(count: int) -> Any:
    return total(size.map(blob.map([2_000_000] * count)))


@step
def blob(size: int) -> str:
    return "x" * size


@step
def size(text: str) -> int:
    return len(text)


@flow
def secretive(secret: str) -> Any:
    return echo.options(key="join")([echo(secret), echo(secret)])


@flow
def wide(count: int) -> Any:
    return double.map(list(range(count)))


@flow
def wide_nodes(count: int) -> Any:
    return total([double.options(key=f"examples.code.measure{i}")(i) for i in range(count)])


@step
def leave() -> None:
    raise SystemExit(2)


@flow
def leaving() -> Any:
    return echo(leave())


# --- steps that end only when they are made to --------------------------------------------------


def _mark(folder: str, name: str) -> None:
    (Path(folder) / f"{name}-{os.getpid()}").touch()


@step
def asks(folder: str) -> str:
    """Look, as a step should that takes long."""
    _mark(folder, "asks")
    context = step.context()
    while not context.cancelled:
        time.sleep(0.01)
    return "asked to end"


@step
def sleeps(folder: str) -> str:
    _mark(folder, "sleeps")
    time.sleep(600)
    return "awake"


@step
async def awaits(folder: str) -> str:
    _mark(folder, "awaits")
    await asyncio.sleep(600)
    return "awake"


@step
def computes(folder: str) -> str:
    """Stay within one call of a C library that looks at no signal."""
    _mark(folder, "computes")
    return hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1).hex()


@step
def catches(folder: str) -> str:
    """Catch everything, again and again."""
    _mark(folder, "catches")
    deadline = time.monotonic() + 600
    while not (Path(folder) / "go").exists() and time.monotonic() < deadline:
        try:
            time.sleep(0.01)
        except BaseException:  # noqa: BLE001 - careless code is what is tested
            continue
    (Path(folder) / "gone").touch()
    return "done"


@step
async def spins_async(folder: str) -> str:
    """Compute on the event loop, without an await."""
    _mark(folder, "spins_async")
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        pass
    return "done"


@flow
def endless(kind: str, folder: str) -> Any:
    steps = [asks, sleeps, awaits, computes, catches, spins_async]
    chosen = next(one for one in steps if one.type.function.__name__ == kind)
    return echo(chosen(folder))


@flow
def endless_parent(kind: str, folder: str) -> Any:
    return echo(endless(kind, folder))


# --- limits --------------------------------------------------------------------------------------


def _span(folder: str, item: int, began: float) -> None:
    file = Path(folder) / f"{item}-{os.getpid()}"
    file.with_suffix(".part").write_text(f"{began} {time.time()}")
    file.with_suffix(".part").rename(file)  # whoever looks sees all of it, or no file


@step(concurrency=50)
async def second_long(item: int, folder: str) -> int:
    began = time.time()
    await asyncio.sleep(1)
    _span(folder, item, began)
    return item


@flow
def fifty_at_once(count: int, folder: str) -> Any:
    return total(second_long.map(list(range(count)), folder=folder))


@step(concurrency=2)
def held(item: int, folder: str) -> int:
    began = time.time()
    time.sleep(0.2)
    _span(folder, item, began)
    return item


@flow
def two_at_once(count: int, folder: str) -> Any:
    return total(held.map(list(range(count)), folder=folder))


@step(concurrency=2)
def held_back(item: int, folder: str) -> int:
    """End at once as one of the first three, any other when there is `go`."""
    place = Path(folder)
    (place / f"begun-{item}").touch()
    if not any(_makes(place / f"ticket-{number}") for number in range(3)):
        while not (place / "go").exists():
            time.sleep(0.01)
    (place / f"ended-{item}").touch()
    return item


def _makes(file: Path) -> bool:
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@flow
def two_held_back(count: int, folder: str) -> Any:
    return total(held_back.map(list(range(count)), folder=folder))


@step(rate=Rate(5, per=1))
def hurried(item: int, folder: str) -> int:
    _span(folder, item, time.time())
    return item


@flow
def five_a_second(count: int, folder: str) -> Any:
    return total(hurried.map(list(range(count)), folder=folder))


@step(concurrency=1)
def stuck(file: str) -> str:
    Path(file).write_text("began")
    if not Path(f"{file}-go").exists():
        time.sleep(600)
    return "went"


@flow
def stuck_once(file: str) -> str:
    return stuck(file)


@step
def tell(folder: str, text: str) -> int:
    """Wait to be let go, and put out a text."""
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)
    with step.context().stream.open() as out:
        for letter in text:
            out.write(letter)
    return len(text)


@flow
def telling(folder: str, text: str) -> int:
    return tell(folder, text)


@step
def raises(name: str, folder: str) -> None:
    with (Path(folder) / "calls.log").open("a") as log:
        log.write(f"{name}\n")
    raised(name)


@step
async def raises_async(name: str, folder: str) -> None:
    with (Path(folder) / "calls.log").open("a") as log:
        log.write(f"{name}\n")
    await asyncio.sleep(0)
    raised(name)


@flow
def raising(names: list[str], folder: str) -> Any:
    most = len(names)
    return (
        raises.map(names, folder=folder, tolerate=most),
        raises_async.map(names, folder=folder, tolerate=most),
    )


@step
def goes_on(folder: str, seconds: float = 20) -> Any:
    """Say that it has begun, and go on for a long while."""
    (Path(folder) / f"begun-{time.monotonic()}").touch()
    time.sleep(seconds)
    return seconds


@step
async def goes_on_async(folder: str) -> int:
    (Path(folder) / "begun").touch()
    await asyncio.sleep(600)
    return 1


@step
def begins_and_holds(folder: str) -> Any:
    """Say that it has begun, and wait to be let go."""
    (Path(folder) / "begun").touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)
    return 1


@flow
def long(folder: str) -> Any:
    return goes_on(folder)


@flow
def some_double(count: int) -> Any:
    return double.map(list(range(count)), tolerate=1)


@flow
def long_async(folder: str) -> Any:
    return goes_on_async(folder)


@flow
async def long_program(folder: str) -> Any:
    return await begins_and_holds(folder)


@step(retries=1, retry_delay=0.01)
def too_long(folder: str) -> None:
    (Path(folder) / f"try-{step.context().attempt}").touch()
    time.sleep(600)


@flow
def limited(folder: str) -> Any:
    return too_long(folder)


@step
def is_raise_refused() -> None: ...
@step
def is_reject_refused() -> None: ...
@step
def is_ignore_refused() -> None: ...


@flow
def refused(word: str) -> Any:
    kinds = {"raise": is_raise_refused, "reject": is_reject_refused, "ignore": is_ignore_refused}
    return kinds[word]()
