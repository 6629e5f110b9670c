"""A name is one step or flow; a definition that is executed again replaces itself."""

import functools
import importlib
import operator
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flowq import BaseFlow, Cache, UnstructuredStep, flow, step, testing
from flowq.authoring.definitions.steps import Step
from flowq.core.errors import IncompleteStep, InvalidFlow
from flowq.core.graph import MAX_NAME_LENGTH
from flowq.engine.registry.registry import registry

HERE = "test_origins.py"


def times(factor: Any, **options: Any) -> Step[..., Any]:
    @step(**options)
    def multiplied(value: int) -> int:
        result: int = value * factor
        return result

    return multiplied


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(value: Any) -> Any:
        return function(value)

    return inner


def wrapped(model: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(value: Any) -> Any:
            return function(f"{model}: {value}")

        return inner

    return decorate


def plain(value: Any) -> Any:
    return value


def other(value: Any) -> Any:
    return value


class Adder:
    def __init__(self, number: int = 0) -> None:
        self.number = number

    def __call__(self, value: int) -> int:
        return value + self.number

    def add(self, value: int) -> int:
        return value + self.number


def summarise(chosen: str | None = None, fields: type = str) -> Any:
    class Summarise(UnstructuredStep):
        step_name = "tests_names_summarise"
        model = chosen
        prompt_file = "summarise.txt"
        prompts_folder = Path(__file__).parents[3] / "tools" / "prompts"

        class Inputs(BaseModel):
            text: fields  # type: ignore[valid-type]

    return Summarise


def based(answer: int) -> Any:
    class Based(BaseFlow):
        flow_name = "tests.names.based"

        async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
            return {"answer": answer}

    return Based


# --- two definitions of one name -----------------------------------------------------------------

TWO: dict[str, list[Callable[[], Any]]] = {
    "a factory with other values": [lambda: times(2), lambda: times(3)],
    "a factory with objects": [lambda: times(Adder(1)), lambda: times(Adder(2))],
    "a decorator without functools.wraps": [
        lambda: step(unwrapped(lambda x: f"charged {x}")),
        lambda: step(unwrapped(lambda x: f"refunded {x}")),
    ],
    "a decorator with other values": [
        lambda: step(wrapped("one")(plain)),
        lambda: step(wrapped("two")(plain)),
    ],
    "decorated and not": [lambda: step(plain), lambda: step(wrapped("one")(plain))],
    "lambdas": [lambda: step(name="x")(lambda: 1), lambda: step(name="x")(lambda: 2)],
    "functions": [lambda: step(name="x")(plain), lambda: step(name="x")(other)],
    "partials": [
        lambda: step(name="x")(functools.partial(operator.add, 1)),
        lambda: step(name="x")(functools.partial(operator.add, 2)),
    ],
    "objects": [lambda: step(name="x")(Adder(1)), lambda: step(name="x")(Adder(2))],
    "methods": [lambda: step(Adder(1).add), lambda: step(Adder(2).add)],
    "builtins": [lambda: step(name="x")(len), lambda: step(name="x")(abs)],
    "key functions of a cache": [
        lambda: step(name="x", cache=Cache(key=plain))(plain),
        lambda: step(name="x", cache=Cache(key=other))(plain),
    ],
    "flows": [lambda: flow(name="x")(lambda: 1), lambda: flow(name="x")(lambda: 2)],
    "a step and a flow": [lambda: step(name="x")(plain), lambda: flow(name="x")(lambda: 2)],
    "a flow and a step": [lambda: flow(name="x")(lambda: 2), lambda: step(name="x")(plain)],
    "flow classes": [lambda: based(1), lambda: based(2)],
    "step classes with other models": [lambda: summarise("a"), lambda: summarise("b")],
    "step classes with other inputs": [summarise, lambda: summarise(fields=int)],
}


@pytest.mark.parametrize("case", TWO)
def test_two_definitions_of_one_name_are_refused(case: str) -> None:
    """The error says where both are, and what to do."""
    one, another = TWO[case]
    one()

    with pytest.raises(
        InvalidFlow, match=r"are named '.+': .+\.py:\d+\) and .+\.py:\d+\)"
    ) as error:
        another()

    assert "name" in str(error.value.hint)


@pytest.mark.parametrize("case", [case for case in TWO if case != "lambdas"])
def test_one_definition_twice_is_one(case: str) -> None:
    """Definitions that cannot be distinguished run the same, whichever of them a worker finds."""
    for make in TWO[case]:
        with testing.definitions():
            make()
            if case not in ("objects", "methods", "a factory with objects"):
                make()


def test_redefinition_in_a_module_is_refused() -> None:
    """Python drops the first one without a word."""

    def define() -> None:
        @step
        def charge() -> int:
            return 1

        @step  # type: ignore[no-redef]
        def charge() -> int:  # noqa: F811
            return 2

    with pytest.raises(InvalidFlow, match="two steps are named"):
        define()


def test_names_of_blocks_are_free_again() -> None:
    with testing.definitions():
        two = times(2)
        name = two.type.name
    assert name not in registry.steps

    with testing.definitions():
        assert times(3)(5) == 15


def test_subclass_of_a_step_needs_a_name_of_its_own() -> None:
    """Else what it changes would be left out: its base would run."""
    base = summarise("one")

    with pytest.raises(InvalidFlow, match="has the step_name of its base, 'tests_names_summarise'"):

        class Louder(base):  # type: ignore[misc, valid-type]
            model = "two"

    class Base(base):  # type: ignore[misc, valid-type]
        step_name = ""

    with pytest.raises(IncompleteStep, match="Base has no step_name"):
        Base()


# --- executed again ------------------------------------------------------------------------------

MODULE = """
from flowq import flow, step

def make(factor):
    @step(name=f"reloaded.times.{factor}")
    def times(x):
        return x * factor
    return times

double, triple = make(2), make(3)

def audited(function):
    def inner(x):
        return function(x)
    return inner

charge = step(audited(lambda x: "ANSWER"))

@step
def work(x: int) -> str:
    return "ANSWER"

@flow
def both():
    return [work(1), charge(1)]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path / "reloaded.py"
    sys.modules.pop("reloaded", None)


@pytest.mark.parametrize("before", ["", "\n\n\nelsewhere = 1\n"])
def test_reload_replaces(module: Path, before: str) -> None:
    """Also when the file was edited, and all stands on other lines."""
    module.write_text(MODULE.replace("ANSWER", "old"))
    loaded = importlib.import_module("reloaded")
    assert testing.run(loaded.both) == ["old", "old"]
    module.write_text(before + MODULE.replace("ANSWER", "brand new"))

    for _ in range(2):
        importlib.invalidate_caches()
        importlib.reload(loaded)

        assert testing.run(loaded.both) == ["brand new", "brand new"]
        assert registry.steps["reloaded.work"] is loaded.work.type


def test_file_under_another_name_replaces(module: Path) -> None:
    """A test runner may do this, and a path that reaches a file twice."""
    module.write_text(MODULE)
    loaded = importlib.import_module("reloaded")
    spec = importlib.util.spec_from_file_location("elsewhere.reloaded", module)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)

    spec.loader.exec_module(again)

    assert registry.steps["reloaded.times.2"] is again.double.type is not loaded.double.type
    assert registry.steps["reloaded.work"] is loaded.work.type
    assert registry.steps["elsewhere.reloaded.work"] is again.work.type


def test_factory_of_another_module_is_reloaded_with_its_caller(module: Path) -> None:
    (module.parent / "maker.py").write_text(MODULE)
    module.write_text("import maker\ndouble = maker.make(7)\n")
    loaded = importlib.import_module("reloaded")

    importlib.reload(loaded)

    assert registry.steps["reloaded.times.7"] is loaded.double.type
    sys.modules.pop("maker")


def test_factory_that_two_modules_call_makes_two_steps(module: Path) -> None:
    """Both are executed once: neither is the other one again."""
    (module.parent / "maker.py").write_text("from flowq import step\n" + FACTORY)
    module.write_text("import maker\ndouble = maker.make(2)\n")
    (module.parent / "second.py").write_text("import maker\ntriple = maker.make(3)\n")
    importlib.import_module("reloaded")

    with pytest.raises(InvalidFlow, match="two steps are named"):
        importlib.import_module("second")
    sys.modules.pop("maker")


class Session:
    """A notebook: each cell is code of its own, over the names of one module."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.exec(0, "from flowq import BaseFlow, flow, step")

    def exec(self, cell: int, text: str) -> None:
        exec(compile(text, f"/tmp/ipykernel_7/{cell}.py", "exec"), self.names)


CELL = "@step\ndef work(x):\n    return {}\n"
FACTORY = "def make(n):\n    @step\n    def times(x):\n        return x * n\n    return times\n"


def test_cell_that_is_run_again_replaces() -> None:
    """Unchanged it has its old file name, edited another."""
    session = Session()
    session.exec(1, CELL.format(1))
    session.exec(1, CELL.format(1))
    session.exec(2, "\n\n" + CELL.format(2))

    assert session.names["work"](0) == 2
    assert registry.steps[session.names["work"].type.name] is session.names["work"].type


def test_class_in_a_cell_replaces() -> None:
    session = Session()
    cell = (
        "class Greet(BaseFlow):\n    flow_name = 'tests.cell'\n"
        "    async def _execute_flow_logic(self, inputs):\n        return {'n': NUMBER}\n"
    )
    session.exec(1, cell.replace("NUMBER", "1"))
    session.exec(2, cell.replace("NUMBER", "2"))

    assert testing.run(session.names["Greet"]) == {"n": 2}


def test_two_in_one_cell_are_refused() -> None:
    with pytest.raises(InvalidFlow, match=r"two steps are named '\S+__.work'"):
        Session().exec(1, CELL.format(1) + CELL.format(2))


def test_factory_in_a_session_makes_two_steps() -> None:
    session = Session()
    session.exec(1, FACTORY)
    session.exec(2, "double = make(2)")
    session.exec(2, "double = make(2)")

    with pytest.raises(InvalidFlow, match="two steps are named"):
        session.exec(3, "triple = make(3)")


def test_text_without_a_file_is_no_module() -> None:
    """Two texts have one file name, "<string>", and nothing else in common."""
    names: dict[str, Any] = {"__name__": "plugins", "step": step}
    for _ in range(2):
        exec(CELL.format(1), dict(names))

    with pytest.raises(InvalidFlow, match=r"two steps are named 'plugins\.work'"):
        exec(CELL.format(2), dict(names))


# --- what may be a name --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, problem",
    [
        ("", "it has 0 characters"),
        ("x" * (MAX_NAME_LENGTH + 1), "it has 201 characters"),
        ("a\0b", "cannot be printed"),
        ("a\nb", "cannot be printed"),
        ("\x1b[31mred", "cannot be printed"),
        ("\ud800", "cannot be printed"),
        (" a", "a space at its end"),
        (7, "it is not text"),
        ("celery.backend_cleanup", "is reserved for the tasks of celery itself"),
        ("celery.mine", "is reserved for the tasks of celery itself"),
        ("flowq.advance", "is reserved for the tasks of flowq itself"),
    ],
)
def test_names_that_cannot_be_are_refused(name: Any, problem: str) -> None:
    for make in (
        lambda: step(name=name)(plain),
        lambda: flow(name=name)(lambda: None),
        lambda: type("Odd", (BaseFlow,), {"flow_name": name, **LOGIC}),
    ):
        with pytest.raises(InvalidFlow) as error:
            make()
        assert f"{HERE}:" in str(error.value)
        assert problem in str(error.value) or "flow_name" in str(error.value)


async def _logic(self: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return inputs


LOGIC = {"_execute_flow_logic": _logic}


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=MAX_NAME_LENGTH))
def test_any_other_name_runs(name: str) -> None:
    """What is accepted is found again by the engine, the tables included."""
    with testing.definitions():
        try:
            made = step(name=name)(plain)
        except InvalidFlow:
            return

        @flow(name="tests.names.any")
        def calling() -> Any:
            return made("a")

        with testing.start(calling) as run:
            assert run.result() == "a"
            assert [one.name for one in run.steps] == [name]
