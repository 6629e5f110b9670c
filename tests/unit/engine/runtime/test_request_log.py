"""Calls of models are written by one thread for all, in few transactions."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowq.core.errors import DatabaseUnavailable
from flowq.engine.model.model_calls import Caller, StartedRequest
from flowq.engine.runtime.request_log import RequestLog


class Rows:
    """Keeps what is written; fails as the test asks."""

    def __init__(self) -> None:
        self.transactions: list[list[UUID]] = []
        self.open = threading.Event()
        self.open.set()
        self.away = 0
        self.bad: set[UUID] = set()

    @property
    def llm_requests(self) -> "Rows":
        return self

    def transaction(self, work: Callable[["Rows"], Any]) -> Any:
        assert self.open.wait(60)
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("away")
        return work(self)

    def start(self, requests: list[StartedRequest]) -> None:
        ids = [one.id for one in requests]
        if self.bad & set(ids):
            raise ValueError("that cannot be written")
        self.transactions.append(ids)


def a_call() -> StartedRequest:
    return StartedRequest(uuid4(), Caller(), "openai", "gpt")


def log_on(rows: Any, wait: float = 0.0) -> RequestLog:
    return RequestLog(rows, timedelta(seconds=wait))


def test_what_comes_while_it_writes_is_one_transaction() -> None:
    rows = Rows()
    log = log_on(rows)
    calls = [a_call() for _ in range(100)]

    async def write() -> None:
        first = log.write(calls[0])
        await first
        rows.open.clear()
        waiting = [log.write(call) for call in calls[1:]]
        rows.open.set()
        await asyncio.gather(*waiting)

    asyncio.run(write())

    written = [one for ids in rows.transactions for one in ids]
    assert [call.id for call in calls] == written
    assert len(rows.transactions) <= 4


def test_one_that_cannot_be_written_takes_no_other_with_it() -> None:
    rows = Rows()
    log = log_on(rows)
    good, bad, other = a_call(), a_call(), a_call()
    rows.bad = {bad.id}

    async def write() -> list[Any]:
        rows.open.clear()
        waiting = [log.write(call) for call in (good, bad, other)]
        rows.open.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers = asyncio.run(write())

    assert [None, ValueError, None] == [one and type(one) for one in answers]
    assert {good.id, other.id} == {one for ids in rows.transactions for one in ids}


def test_it_waits_for_a_database_that_is_away() -> None:
    rows = Rows()
    rows.away = 1
    call = a_call()

    async def write() -> None:
        await log_on(rows, wait=30).write(call)

    asyncio.run(write())

    assert [[call.id]] == rows.transactions


def test_it_does_not_wait_for_ever() -> None:
    rows = Rows()
    rows.away = 1_000_000

    async def write() -> None:
        await log_on(rows).write(a_call())

    with pytest.raises(DatabaseUnavailable):
        asyncio.run(write())


def test_a_call_is_written_though_nobody_waits_for_it() -> None:
    rows = Rows()
    log = log_on(rows)
    call, last = a_call(), a_call()

    async def leave() -> None:
        rows.open.clear()
        log.write(call).cancel()
        rows.open.set()

    asyncio.run(leave())

    async def write() -> None:
        await log.write(last)

    asyncio.run(write())

    assert [call.id, last.id] == [one for ids in rows.transactions for one in ids]
