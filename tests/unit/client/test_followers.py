"""Readers are woken: all of them, at the cost of one call for each event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowq.client.followers import Notifier


def test_a_loop_is_notified_once_for_all_its_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> None:
        notifier, count = Notifier(), 0
        loop = asyncio.get_running_loop()
        call_soon = loop.call_soon_threadsafe

        def counted(callback: Callable[..., Any], *args: Any) -> Any:
            nonlocal count
            count += 1
            return call_soon(callback, *args)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        readers = [notifier.add() for _ in range(100)]
        gone = notifier.add()
        notifier.remove(gone)
        assert 100 == len(notifier)
        for round_ in (1, 2):
            for reader in readers:
                reader.clear()
            for _ in range(50):
                notifier.notify()
            await asyncio.gather(*[reader.wait() for reader in readers])
            assert round_ == count
        assert not gone.is_set()

    asyncio.run(asyncio.wait_for(wait(), 60))


def test_readers_of_every_loop_are_woken() -> None:
    notifier, waiting = Notifier(), threading.Barrier(3)

    async def wait() -> None:
        wakeup = notifier.add()
        waiting.wait(60)
        await asyncio.wait_for(wakeup.wait(), 60)

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(asyncio.run, wait()) for _ in range(2)]
        waiting.wait(60)
        notifier.notify()
        for reader in readers:
            reader.result(60)
