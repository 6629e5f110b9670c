"""Flows as classes: what makes one, and what is refused when it is defined or called."""

import asyncio
from contextlib import closing
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator

from flowq import testing
from flowq.authoring.definitions.base_flow import BaseFlow
from flowq.authoring.definitions.flows import flow
from flowq.authoring.definitions.steps import step
from flowq.core.errors import InvalidFlow, InvalidInput, RunFailed, StepFailed
from flowq.core.graph import MAX_NAME_LENGTH
from flowq.core.spec import StepKind
from flowq.engine.registry.registry import registry
from flowq.engine.replay import Returned
from tests.tools.replaying import done, start


@step
async def shout(text: str) -> str:
    return text.upper()


class Greeting(BaseFlow):
    """Greets."""

    flow_name = "tests.greeting"

    class Inputs(BaseModel):
        name: str
        times: int = 1

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        text = await shout(inputs["name"])
        if text == "NOBODY":
            raise ValueError("there is nobody")
        return {"text": text * inputs["times"], "inputs": inputs}


class Anything(BaseFlow):
    flow_name = "tests.anything"

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs


class Outer(BaseFlow):
    flow_name = "tests.outer"

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        first = await Greeting().execute({"name": inputs["name"]})
        second = await shout("and then")  # the outer flow goes on as itself
        return {"first": first["text"], "second": second}


def test_inputs_are_checked_and_filled_in() -> None:
    made = testing.run(Greeting, {"name": "ann"})

    assert {"text": "ANN", "inputs": {"name": "ann", "times": 1}} == made


def test_flow_without_inputs_takes_any() -> None:
    assert {"a": 1, "self": 2} == testing.run(Anything, {"a": 1, "self": 2})


def test_flow_in_a_flow_is_a_child_run() -> None:
    with testing.start(Outer, {"name": "ann"}) as run:
        assert {"first": "ANN", "second": "AND THEN"} == run.result()
        assert [("tests.greeting", StepKind.FLOW), (shout.type.name, StepKind.STEP)] == [
            (one.name, one.called) for one in run.steps[1:]
        ]


def test_flow_name_is_what_people_see() -> None:
    """In the keys of a run, and so in what the command line and Flower show."""
    with testing.start(Outer, {"name": "ann"}) as run:
        run.result()
        keys = [one.key for one in run.steps]

    assert ["tests.outer", "tests.greeting#1", "shout#2"] == keys


def test_error_names_the_flow_that_failed() -> None:
    with testing.start(Outer, {"name": "nobody"}) as run, pytest.raises(RunFailed) as raised:
        run.result()

    said = str(raised.value)
    assert "tests.greeting#1" in said
    assert "tests.outer" in said
    assert "Greeting" not in said.replace("test_base_flow.Greeting", "")


def test_error_names_the_flow_where_its_parent_is_plain_python() -> None:
    @flow
    async def plain() -> Any:
        return await Greeting.flow(name="nobody")

    with pytest.raises(StepFailed) as raised:
        asyncio.run(plain())

    assert "tests.greeting" == raised.value.step


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=MAX_NAME_LENGTH),
    st.sampled_from(["graph", "program"]),
)
@settings(max_examples=50)
def test_any_flow_name_makes_keys(name: str, caller: str) -> None:
    """Marks that tell calls and items apart are no part of it, and twice the longest fits."""
    assume(not name.startswith(("celery.", "flowq.")))
    shown = name.translate(str.maketrans("#[]", "___"))
    with testing.definitions():
        made: Any = type("Any", (BaseFlow,), {"flow_name": name, **LOGIC})

        @flow
        def graph() -> Any:
            return [made().execute({}), made().execute({})]

        @flow
        async def program() -> Any:
            return [await made().execute({}), await made().execute({})]

        outer: Any = {"graph": graph, "program": program}[caller]
        with testing.start(outer) as run:
            assert [{}, {}] == run.result()
            one, two = [one.key for one in run.steps][-2:]

    if caller == "program":
        assert (f"{shown[:80]}#1", f"{shown[:80]}#2") == (one, two)
    else:
        assert (shown, f"{shown[:190]}-2") == (one, two)


async def _logic(_self: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return inputs


LOGIC = {"_execute_flow_logic": _logic}


def test_wrong_inputs_of_a_child_are_reported_at_the_call() -> None:
    async def program() -> Any:
        try:
            await Greeting().execute({"nam": "ann"})
        except InvalidInput as error:
            return error.message

    with closing(start(program)) as execution:
        end = execution.run().end

    assert isinstance(end, Returned)
    assert "the inputs of flow 'tests.greeting' are invalid" in end.value
    assert "name: expected a value, got nothing" in end.value


def test_child_that_fails_is_a_step_that_has_failed() -> None:
    class Careful(BaseFlow):
        flow_name = "tests.careful"

        async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
            try:
                return await Greeting().execute(inputs)
            except StepFailed as error:
                return {"caught": error.reason}

    assert "there is nobody" in testing.run(Careful, {"name": "nobody"})["caught"]


def test_flow_in_a_graph_is_a_node() -> None:
    @flow(name="tests.graph_over_class")
    def graph(name: str) -> Any:
        greeting: Any = Greeting().execute({"name": name})
        return greeting["text"]

    assert "ANN" == testing.run(graph, {"name": "ann"})


def test_inputs_may_be_checked_together() -> None:
    class Range(BaseFlow):
        flow_name = "tests.range"

        class Inputs(BaseModel):
            low: int
            high: int

            @model_validator(mode="after")
            def _ordered(self) -> "Range.Inputs":
                if self.low > self.high:
                    raise ValueError("low is above high")
                return self

        async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
            return inputs

    assert {"low": 1, "high": 2} == testing.run(Range, {"low": 1, "high": 2})
    with pytest.raises(InvalidInput, match="low is above high"):
        testing.run(Range, {"low": 3, "high": 2})


def test_all_problems_of_the_inputs_are_reported_at_once() -> None:
    with pytest.raises(InvalidInput) as raised:
        testing.run(Greeting, {"times": "many"})

    assert "name: expected a value, got nothing" in raised.value.message
    assert "times: expected a valid integer" in raised.value.message
    assert "tests.greeting(name: str, times: int = 1)" in str(raised.value.hint)


def test_inputs_that_are_no_dict_are_refused() -> None:
    with pytest.raises(InvalidInput, match="is given list as its inputs"):
        asyncio.run(_execute([1]))


async def _execute(inputs: Any) -> Any:
    return await Greeting().execute(inputs)


def test_flow_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidFlow, match="Nameless has no flow_name"):

        class Nameless(BaseFlow):
            async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
                return inputs


def test_flow_without_logic_is_refused() -> None:
    with pytest.raises(InvalidFlow, match="does not define _execute_flow_logic"):

        class Empty(BaseFlow):
            flow_name = "tests.empty"


def test_logic_that_cannot_be_awaited_is_refused() -> None:
    with pytest.raises(InvalidFlow, match="not `async def`"):

        class Plain(BaseFlow):
            flow_name = "tests.plain"

            def _execute_flow_logic(self, inputs: Any) -> Any:
                return inputs


def test_inputs_that_are_no_model_are_refused() -> None:
    with pytest.raises(InvalidFlow, match="not a pydantic model"):

        class Odd(BaseFlow):
            flow_name = "tests.odd"

            class Inputs:
                pass

            async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
                return inputs


def test_name_that_is_taken_is_refused() -> None:
    with pytest.raises(InvalidFlow, match=r"two flows are named 'tests.greeting': Greeting \("):

        class Second(BaseFlow):
            flow_name = "tests.greeting"

            async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
                return inputs

    with pytest.raises(InvalidFlow, match="two flows are named"):

        @flow(name="tests.greeting")
        def other() -> None: ...

    assert Greeting is registry.flows["tests.greeting"].subject


def test_subclass_needs_a_name_of_its_own() -> None:
    with pytest.raises(InvalidFlow, match="has the flow_name of Greeting"):

        class Louder(Greeting):
            pass


def test_common_base_of_flows_is_no_flow() -> None:
    class Base(BaseFlow):
        greeting = "hello"

    class Hello(Base):
        flow_name = "tests.hello"

        async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
            return {"text": self.greeting}

    assert {"text": "hello"} == testing.run(Hello)


def test_class_that_is_loaded_again_replaces_itself() -> None:
    def load() -> type[BaseFlow]:
        class Again(BaseFlow):
            flow_name = "tests.again"

            async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
                return inputs

        return Again

    load()
    assert load() is registry.flows["tests.again"].subject


def test_flow_is_not_enqueued_in_a_flow() -> None:
    async def program() -> None:
        Greeting.enqueue({"name": "ann"})

    with closing(start(program)) as execution:
        said = str(execution.run().end.error)  # type: ignore[union-attr]

    assert "flow 'tests.greeting' is enqueued while another flow runs" in said
    assert "call it, Greeting.flow(…), for a child run" in said


def test_replayed_flow_gets_the_same_inputs() -> None:
    testing.assert_deterministic(Outer, {"name": "ann"})


def test_call_of_a_class_is_recorded_with_flat_inputs() -> None:
    async def program() -> Any:
        return await Anything().execute({"a": [1], "b": None})

    with closing(start(program)) as execution:
        (made,) = execution.run().calls
        assert {"a": [1], "b": None} == made.spec.arguments
        execution.feed([done(made.key, {"x": 1})])
        assert Returned({"x": 1}) == execution.run().end
