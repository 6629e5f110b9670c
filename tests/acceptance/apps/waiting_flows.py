"""Steps and tasks that wait for runs, in each way there is; as an app of its own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flowq
from flowq import Run, flow, step

app = flowq.celery_app()


@step
def leaf() -> int:
    return 1


@flow
def child() -> int:
    return leaf()


@step(retries=3)
def by_result() -> int:
    return child.enqueue().result()


@step
def by_wait() -> str:
    return child.enqueue().wait(timeout=60)


@step
def by_events() -> int:
    return len(list(child.enqueue().events()))


@step
async def by_async_events() -> int:
    return len([event async for event in child.enqueue().events()])


@step
async def by_result_in_coroutine() -> int:
    return child.enqueue().result()


@step
async def by_result_beside_coroutine() -> int:
    return await asyncio.to_thread(child.enqueue().result)


@step
async def by_aresult() -> int:
    return await (await child.aenqueue()).aresult()


@step
async def by_await_end() -> str:
    return await (await child.aenqueue()).await_end(timeout=60)


@step
def by_thread() -> int:
    with ThreadPoolExecutor() as threads:
        return threads.submit(child.enqueue().result).result()


@step
def with_leave() -> int:
    with flowq.allow_waiting():
        return child.enqueue().result(timeout=60)


@step
def of_the_past(run_id: str) -> int:
    run = Run.get(run_id)
    return int(run.result()) + len([*run.events()][:1])


@app.task(name="waiting.task", ignore_result=False)
def task() -> int:
    return child.enqueue().result()


REFUSED = {
    one.type.name.rpartition(".")[2]: one
    for one in (
        by_result,
        by_wait,
        by_events,
        by_async_events,
        by_result_in_coroutine,
        by_result_beside_coroutine,
        by_aresult,
        by_await_end,
        by_thread,
    )
}


@flow
def refused(how: str) -> Any:
    return REFUSED[how]()


@flow
def allowed() -> int:
    return with_leave()


@flow
def past(run_id: str) -> int:
    return of_the_past(run_id)
