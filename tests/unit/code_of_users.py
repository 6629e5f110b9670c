"""Code as users write it, for a type checker: see `test_types_of_users`. Nothing runs it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

import flowq
from flowq import BaseFlow, Run, StepFailure, UnstructuredStep, flow, step
from flowq.errors import StepFailed

app = flowq.celery_app()


class Page(BaseModel):
    title: str
    words: int


@step(retries=2, timeout=timedelta(seconds=5), queue="io")
async def fetch(url: str) -> Page:
    return Page(title=url, words=1)


@step
def parse(page: Page | StepFailure) -> int:
    return 0 if isinstance(page, StepFailure) else page.words


@step(cache=timedelta(hours=1), concurrency=3)
def add(a: int, b: int = 2) -> int:
    return a + b


@step
async def double(number: int) -> int:
    return 2 * number


@flow
async def other(user: str) -> int:
    return len(user)


@step
def note(text: str) -> None:
    step.context().logger.info("hello %s", text)


@flow
def graph(urls: list[str], limit: int = 3) -> int:
    pages = fetch.options(tolerate="10%").map(urls)
    counts = parse.map(pages)
    first = fetch(urls[0])
    note.options(when=first.words > 3)(first.title)
    return add(counts[0], b=limit)


@flow
async def program(user: str) -> str:
    page = await fetch("x")
    total = await double(page.words)
    many = await asyncio.gather(*(fetch(str(n)) for n in range(3)))
    pages = await fetch.map(["a", "b"])
    await flowq.sleep(timedelta(days=2))
    said = await flowq.signal("approve", bool, timeout=timedelta(hours=3))
    try:
        child = await other("a")
    except StepFailed as error:
        return str(error)
    return f"{total} {many[0].title} {pages[0].title} {said} {child}"


class Say(UnstructuredStep):
    step_name = "say"
    prompt_file = "say.txt"

    class Inputs(BaseModel):
        text: str


class Shop(BaseFlow):
    flow_name = "shop"

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        said = await Say().execute({"text": "x"})
        return {"said": said.output_content, "tokens": said.metadata.tokens_used}


def main() -> None:
    run = graph.enqueue(urls=["a"])
    value: int = run.result(timeout=3)
    run2: Run[str] = program.options(user_id="a").enqueue("me")
    text: str = run2.result()
    for event in run.events():
        print(event.event_type)
    runs = graph.enqueue_many([{"urls": ["a"]}])
    print(value, text, runs[0].status, runs[0].view().steps)
    got = Run.get("abc")
    got.cancel("x")
    Shop.enqueue({"a": 1}).result()["said"]
    add(1)


async def amain() -> None:
    run = await graph.aenqueue(["a"])
    print(await run.aresult(), await program("x"))
    async for event in run.events():
        print(event.timestamp)
