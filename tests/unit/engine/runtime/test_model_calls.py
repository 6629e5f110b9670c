"""A call of a model waits for its budgets before it is made."""

import asyncio
import threading
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from flowq.engine.model.model_calls import Caller
from flowq.engine.runtime.model_calls import AskedCall, CallBudgets, ModelCalls


class Slow(CallBudgets):
    """Budgets whose database answers when a test lets it."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.asked, self.answer = threading.Event(), threading.Event()
        self.released: list[UUID] = []
        self.was_released = threading.Event()

    def reserve(self, asked: AskedCall) -> bool:
        self.asked.set()
        assert self.answer.wait(60)
        return self.answers.pop(0)

    def release(self, call_id: UUID) -> None:
        self.released.append(call_id)
        self.was_released.set()

    def warn(self, caller: Caller) -> None:
        raise AssertionError


def calls(budgets: Slow) -> ModelCalls:
    return ModelCalls(None, uuids.uuid7, budgets=budgets)


def test_call_is_asked_for_again_until_it_may_be_made() -> None:
    budgets = Slow(False, False, True)
    budgets.answer.set()

    assert isinstance(asyncio.run(calls(budgets).admit("openai", "m")), UUID)
    assert (budgets.answers, budgets.released) == ([], [])


@pytest.mark.parametrize("made", [True, False])
def test_reservation_of_a_cancelled_call_is_given_back(*, made: bool) -> None:
    budgets = Slow(made)

    async def main() -> None:
        admitting = asyncio.ensure_future(calls(budgets).admit("openai", "m"))
        await asyncio.to_thread(budgets.asked.wait, 60)
        admitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await admitting
        budgets.answer.set()  # only now the database answers
        if made:
            assert await asyncio.to_thread(budgets.was_released.wait, 60)

    asyncio.run(main())
    assert len(budgets.released) == int(made)
