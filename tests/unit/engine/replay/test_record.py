"""A program that does not match its record is stopped, with both sides named."""

import asyncio
from contextlib import closing
from typing import Any

import pytest

from flowq.core.errors import NondeterminismError
from flowq.core.spec import MapSpec, StepKind, StepSpec
from flowq.engine.replay import ProgramCall, RecordedCall
from tests.tools.replaying import Function, call, done, start


async def two() -> Any:
    return await call("fetch", url="x"), await call("write", n=1)


def recorded(*specs: tuple[str, str, dict[str, Any]]) -> list[ProgramCall]:
    return [
        ProgramCall(key, StepSpec(key=key, name=name, arguments=inputs))
        for key, name, inputs in specs
    ]


FETCH = ("fetch#1", "fetch", {"url": "x"})
WRITE = ("write#2", "write", {"n": 1})


def replayed(function: Function, rows: list[ProgramCall], *ended: str) -> None:
    with closing(start(function, rows)) as execution:
        execution.replay([done(key) for key in ended])
        execution.run()


def test_same_code_agrees_with_its_record() -> None:
    replayed(two, recorded(FETCH, WRITE), "fetch#1")


@pytest.mark.parametrize(
    "rows, said",
    [
        (
            [("load#1", "load", {"url": "x"}), WRITE],
            "at 1 the code calls step 'fetch', and step 'load' is recorded",
        ),
        (
            [("fetch#1", "other.fetch", {"url": "x"}), WRITE],
            "at 1 the code calls step 'fetch', and step 'other.fetch' is recorded",
        ),
        (
            [("fetch#1", "fetch", {"url": "y"}), WRITE],
            "fetch#1 is called with (url='x'), and (url='y') is recorded",
        ),
        (
            [FETCH, WRITE, ("mail#3", "mail", {})],
            "mail#3 is recorded (step 'mail'), and the code no longer calls it",
        ),
        (
            [FETCH],
            "the code calls write#2 (step 'write') at a point where the record has no such call",
        ),
    ],
)
def test_difference_names_the_place_and_both_sides(rows: list[Any], said: str) -> None:
    with pytest.raises(NondeterminismError) as raised:
        replayed(two, recorded(*rows), "fetch#1")

    assert said in raised.value.message
    assert "two" in raised.value.message
    assert raised.value.hint


def test_end_of_a_call_that_is_not_made_by_then_is_named() -> None:
    with pytest.raises(NondeterminismError, match="mail#3 is recorded, and the code no longer"):
        replayed(two, recorded(FETCH, WRITE), "fetch#1", "mail#3")


def test_kind_and_items_of_a_map_count() -> None:
    async def program() -> None:
        await call("fetch", url="x")

    mapped = MapSpec(parameter="url", items=["x"])
    for spec in (
        StepSpec(key="fetch#1", name="fetch", kind=StepKind.FLOW, arguments={"url": "x"}),
        StepSpec(key="fetch#1", name="fetch", arguments={"url": "x"}, map=mapped),
    ):
        with pytest.raises(NondeterminismError):
            replayed(program, [ProgramCall("fetch#1", spec)])


def test_options_may_change_under_a_run() -> None:
    """Retries, timeouts and queues decide nothing of what the program does next."""
    spec = StepSpec(key="fetch#1", name="fetch", arguments={"url": "x"}, queue="old")

    replayed(two, [ProgramCall("fetch#1", spec), *recorded(WRITE)], "fetch#1")


def test_program_does_not_see_that_it_was_stopped() -> None:
    """However much it catches: nothing of it runs once it has left its record."""
    log: list[str] = []

    async def program() -> None:
        try:
            await call("new")
        except BaseException:
            log.append("caught")
            raise
        finally:
            log.append("finally")

    with closing(start(program, recorded(FETCH))) as execution:
        with pytest.raises(NondeterminismError):
            execution.run()
        assert [] == log


def test_new_task_at_a_passed_place_is_found() -> None:
    """Also where no recorded call has moved: another scope has one more."""

    def code(*, changed: bool) -> Function:
        async def program() -> None:
            if changed:
                await asyncio.gather(call("fetch", url="x"), asyncio.create_task(extra()))
            else:
                await call("fetch", url="x")
            await call("write", n=1)

        return program

    async def extra() -> None:
        await call("audit")

    replayed(code(changed=False), recorded(FETCH, WRITE), "fetch#1")
    with pytest.raises(NondeterminismError, match=r"audit#t1\.1"):
        replayed(code(changed=True), recorded(FETCH, WRITE), "fetch#1")


def test_execution_that_is_behind_catches_up() -> None:
    """Another process went on with the run; its calls come out of this one as known."""
    rows = [RecordedCall(one.key, one.spec) for one in recorded(FETCH, WRITE)]
    with closing(start(two)) as execution:
        execution.run()
        execution.replay([done("fetch#1")], rows)
        progress = execution.run()
        assert ((), ("write#2",)) == (progress.calls, progress.waiting)
