"""What can be a step runs as Python would run it; what cannot is refused as it is defined."""

import abc
import asyncio
import functools
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar, Unpack

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from flowq import BaseFlow, UnstructuredStep, flow, step, testing
from flowq.core.errors import InvalidFlow, InvalidInput

T = TypeVar("T")
P = ParamSpec("P")


def add(a: int, b: int) -> int:
    return a + b


async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


class Adder:
    #: Attributes that a step has too: they must not take its place.
    map = options = type = None

    def __init__(self, number: int) -> None:
        self.number = number
        self.map = self.options = self.type = self._options = number

    def __call__(self, value: int) -> int:
        return value + self.number

    def add(self, value: int) -> int:
        return value + self.number

    async def add_later(self, value: int) -> int:
        return value + self.number

    @classmethod
    def add_one(cls, value: int) -> int:
        return cls(1)(value)

    @staticmethod
    def add_two(value: int) -> int:
        return value + 2

    def itself(self) -> Self:
        return self


class AsyncAdder(Adder):
    async def __call__(self, value: int) -> int:  # type: ignore[override]
        return value + self.number


def hides_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def hides_all(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def of_kinds(a: int, /, b: int, *rest: int, c: int = 4, **named: int) -> list[Any]:
    return [a, b, list(rest), c, dict(named)]


class Named(TypedDict):
    x: int


def typed_named(**named: Unpack[Named]) -> dict[str, Any]:
    return dict(named)


def generic(value: T, other: list[T]) -> tuple[T, list[T]]:
    return (value, other)


def passed_on(*args: P.args, **kwargs: P.kwargs) -> int:  # type: ignore[valid-type]
    return len(args) + len(kwargs)


class InClass:
    @staticmethod
    @step
    def inside(value: int) -> int:
        return value

    @step
    @staticmethod
    def outside(value: int) -> int:
        return value

    @step
    @staticmethod
    async def waits(value: int) -> int:
        return value


WORKS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = {
    "function": (add, (1, 2), {}, 3),
    "async": (add_async, (1, 2), {}, 3),
    "lambda": (lambda a: a + 1, (1,), {}, 2),
    "partial by name": (functools.partial(add, b=10), ("1",), {}, 11),
    "partial by place": (functools.partial(add, 10), ("1",), {}, 11),
    "partial of a partial": (functools.partial(functools.partial(add, 1), b=2), (), {}, 3),
    "partial of an async function": (functools.partial(add_async, b=10), (1,), {}, 11),
    "object": (Adder(100), ("1",), {}, 101),
    "async object": (AsyncAdder(100), (1,), {}, 101),
    "partial of an async object": (functools.partial(AsyncAdder(100), 1), (), {}, 101),
    "bound method": (Adder(3).add, (1,), {}, 4),
    "async bound method": (Adder(3).add_later, (1,), {}, 4),
    "classmethod": (Adder.add_one, (1,), {}, 2),
    "staticmethod": (Adder.add_two, (1,), {}, 3),
    "staticmethod object": (Adder.__dict__["add_two"], (1,), {}, 3),
    "builtin": (len, ([1, 2],), {}, 2),
    "operator": (operator.add, (1, 2), {}, 3),
    "cached": (functools.lru_cache(add), (1, 2), {}, 3),
    "wrapped": (hides_async(add), ("1", 2), {}, 3),
    "wrapped async": (hides_async(add_async), ("1", 2), {}, 3),
    "not wrapped": (hides_all(add), (1, 2), {}, 3),
    "not wrapped async": (hides_all(add_async), (1,), {"b": 2}, 3),
    "all kinds of parameters": (of_kinds, ("1", 2, 3), {"d": 5}, [1, 2, [3], 4, {"d": 5}]),
    "positional only": (of_kinds, (1, 2), {}, [1, 2, [], 4, {}]),
    "typed keywords": (typed_named, (), {"x": "1"}, {"x": 1}),
    "type variables": (generic, (1, [2]), {}, [1, [2]]),
    "parameters of another": (passed_on, (1, 2), {"x": 3}, 3),
}


@pytest.mark.parametrize("case", WORKS)
def test_callable_runs(case: str) -> None:
    function, args, kwargs, expected = WORKS[case]
    made = step(name="tests.callables.made")(function)

    @flow(name="tests.callables.graph")
    def graph() -> Any:
        return made(*args, **kwargs)

    @flow(name="tests.callables.program")
    async def program() -> Any:
        return await made(*args, **kwargs)

    for calling in (graph, program):
        result = testing.run(calling)
        assert (list(result) if isinstance(result, tuple) else result) == expected


@pytest.mark.parametrize("case", ["function", "object", "partial by name", "builtin"])
def test_callable_is_mapped_and_takes_options(case: str) -> None:
    function, args, _, _ = WORKS[case]
    made = step(name="tests.callables.made")(function).options(retries=1)
    more = {"b": 1} if case == "function" else {}

    @flow(name="tests.callables.mapped")
    def mapped() -> Any:
        return made.map([args[0]] * 2, **more)

    item = args[0] if case == "builtin" else int(args[0])
    assert testing.run(mapped) == [function(item, **more)] * 2


def test_staticmethods_of_a_class_run() -> None:
    @flow(name="tests.callables.static")
    def static() -> Any:
        return [InClass.inside(1), InClass.outside(2), InClass().inside(3), InClass.waits(4)]

    assert testing.run(static) == [1, 2, 3, 4]


def test_hidden_async_step_is_seen_in_plain_python() -> None:
    hidden = step(name="tests.callables.hidden")(hides_all(add_async))

    @flow(name="tests.callables.plain")
    def plain() -> Any:
        return hidden(1, 2)

    with pytest.raises(InvalidFlow, match="is async"):
        plain()


def test_hidden_async_step_has_its_timeout() -> None:
    async def naps() -> None:
        await asyncio.sleep(30)

    hidden = step(name="tests.callables.naps", timeout=0.05)(hides_all(naps))

    @flow(name="tests.callables.napping")
    def napping() -> Any:
        return hidden()

    with testing.start(napping) as run:
        run.finish()
        assert "longer than its timeout" in str(run.view().error)


# --- refused -------------------------------------------------------------------------------------


def generator(value: int) -> Iterator[int]:
    yield value


async def async_generator(value: int) -> AsyncIterator[int]:
    yield value


class Yields:
    def __call__(self) -> Iterator[int]:
        yield 1


class Abstract(abc.ABC):
    @abc.abstractmethod
    def work(self) -> None: ...

    @staticmethod
    @abc.abstractmethod
    def work_statically() -> None: ...


@flow(name="tests.callables.some_flow")
def some_flow() -> None: ...


some_step = step(name="tests.callables.some_step")(add)

REFUSED: dict[str, tuple[Any, str]] = {
    "number": (3, "which is not a function"),
    "class": (Adder, "a class, which is not a function"),
    "generic": (list[int], "which is not a function"),
    "flow": (some_flow, "which is not a function"),
    "step": (some_step, "which is not a function"),
    "classmethod object": (Adder.__dict__["add_one"], "a classmethod"),
    "property": (property(str), "a property"),
    "generator": (generator, "is a generator"),
    "async generator": (async_generator, "is a generator"),
    "partial of a generator": (functools.partial(generator, 1), "is a generator"),
    "object that yields": (Yields(), "is a generator"),
    "unbound method": (Adder.add, "is a method: a worker has no object to pass as self"),
    "abstract method": (Abstract.work, "is abstract"),
    "abstract staticmethod": (Abstract.work_statically, "is abstract"),
    "builtin that hides its parameters": (max, "the parameters of .* cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_callable_is_refused(case: str) -> None:
    function, problem = REFUSED[case]

    with pytest.raises(InvalidFlow, match=problem) as error:
        step(name="tests.callables.refused")(function)

    assert error.value.hint


@pytest.mark.parametrize("kind", ["step", "flow"])
@pytest.mark.parametrize("first", ["self", "cls"])
def test_method_is_refused_where_it_is_defined(kind: str, first: str) -> None:
    decorator = {"step": step, "flow": flow}[kind]
    names: dict[str, Any] = {"decorator": decorator, "__name__": "tests.made"}

    with pytest.raises(
        InvalidFlow, match=f"is a method: a worker has no object to pass as {first}"
    ):
        exec(f"class Of:\n    @decorator\n    def work({first}, x): ...", names)


# --- annotations ---------------------------------------------------------------------------------

PROMPTS = str(Path(__file__).parents[3] / "tools" / "prompts")
LATE = """
from __future__ import annotations
from typing import TYPE_CHECKING
from flowq import BaseFlow, UnstructuredStep, flow, step
from pydantic import BaseModel
if TYPE_CHECKING:
    from decimal import Decimal
"""

UNREADABLE: dict[str, str] = {
    "result": "@step(retries=2)\ndef pay(amount: int) -> Decimal | None: return None",
    "parameter": "@step\ndef pay(amount: Decimal) -> None: ...",
    "variadic": "@step\ndef pay(amount: int = 0, *more: Decimal, **named: int) -> None: ...",
    "attribute": "import flowq\n@step\ndef pay(amount: flowq.Nothing) -> None: ...",
    "nested": "@step\ndef pay(amount: list[dict[str, Decimal]]) -> None: ...",
    "field": "class Price(BaseModel):\n  x: Decimal\n@step\ndef pay(amount: Price) -> None: ...",
}


def loaded(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "tests.late"}
    exec(LATE + text, names)
    return names


@pytest.mark.parametrize("case", UNREADABLE)
@pytest.mark.parametrize("way", ["graph", "program", "map", "child"])
def test_unreadable_annotation_is_refused_before_anything_is_recorded(case: str, way: str) -> None:
    calling = {
        "graph": "@flow\ndef f(): return pay(7)",
        "map": "@flow\ndef f(): return pay.map([7])",
        "program": "@flow\nasync def f(): return await pay(7)",
        "child": "@flow\nasync def g(): return await pay(7)\n@flow\ndef f(): return g()",
    }[way]
    names = loaded(UNREADABLE[case] + "\n" + calling)

    with pytest.raises(InvalidFlow, match=r"step 'tests\.late\.pay'") as error:
        testing.start(names["f"])

    assert error.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "@flow\ndef f(x: int = 0) -> Decimal: ...",
        "@flow\ndef f() -> Decimal: ...",
        "@flow\nasync def f() -> Decimal: ...",
        "@flow\ndef f(x: Decimal = 0): ...",
        "@flow\ndef g() -> Decimal: ...\n@flow\ndef f(): return g()",
        (
            "class F(BaseFlow):\n  flow_name = 'f'\n  class Inputs(BaseModel):\n    x: Decimal = 0"
            "\n  async def _execute_flow_logic(self, inputs): return inputs\nf = F"
        ),
    ],
)
def test_unreadable_annotation_of_a_flow_is_refused(text: str) -> None:
    with pytest.raises(InvalidFlow, match=r"flow '\S+'.*not defined"):
        testing.start(loaded(text)["f"])


def test_unreadable_inputs_of_a_step_class_are_refused() -> None:
    text = (
        "class S(UnstructuredStep):\n  step_name = 'tests_late'\n  prompt_file = 'ask.txt'\n"
        "  prompts_folder = FOLDER\n  class Inputs(BaseModel):\n    question: Decimal\n"
        "@flow\nasync def f(): return await S()(question=1)\n"
    )
    with pytest.raises(InvalidFlow, match="Inputs of step 'tests_late'"):
        testing.start(loaded(text.replace("FOLDER", repr(PROMPTS)))["f"])


def test_annotation_that_is_no_type_is_refused() -> None:
    text = "@step\ndef pay(amount: 'the amount, in cents') -> None: ..."
    with pytest.raises(InvalidFlow, match=r"an annotation of step \S+ cannot be read: SyntaxError"):
        loaded(text)


def test_self_of_a_method_is_refused() -> None:
    @flow(name="tests.callables.selfish")
    def selfish() -> Any:
        return itself()

    itself = step(name="tests.callables.itself")(Adder(1).itself)
    with pytest.raises(InvalidFlow, match=r"the result of step 'tests\.callables\.itself'"):
        testing.start(selfish)


def test_names_that_come_later_are_read() -> None:
    names = loaded(
        "@step\ndef pay(amount: Price) -> Price: return amount\n"
        "@flow\ndef f(price: Price) -> Price: return pay(price)\n"
        "@flow\nasync def g(price: Price) -> Price: return await pay(price)\n"
        "class Price(BaseModel):\n  x: int\n"
    )

    assert testing.run(names["f"], {"price": {"x": "1"}}) == names["Price"](x=1)
    assert testing.run(names["g"], {"price": {"x": "1"}}) == names["Price"](x=1)


LOCAL = """
def define():
    class Price(BaseModel):
        x: int
    def inner():
        @step
        def pay(amount: Price) -> list[Price]: return [amount]
        @flow
        def f(price: Price) -> list[Price]: return pay(price)
        return f
    return inner(), Price

class Outer:
    class Price(BaseModel):
        x: int
    @staticmethod
    @step
    def pay(amount: Price) -> Price: return amount
@flow
def outer(): return Outer.pay({"x": "1"})
"""


def test_local_classes_are_read() -> None:
    names = loaded(LOCAL)
    made, price = names["define"]()

    assert testing.run(made, {"price": {"x": "1"}}) == [price(x=1)]
    assert testing.run(names["outer"]) == {"x": 1}


def test_enqueue_refuses_what_no_worker_could_read() -> None:
    """The client does; nothing is sent or recorded."""
    names = loaded(UNREADABLE["result"] + "\n@flow\ndef f(): return pay(7)")

    with pytest.raises(InvalidFlow, match="cannot be read"):
        names["f"].enqueue()


# --- classes -------------------------------------------------------------------------------------


class Needs:
    def __init__(self, url: str) -> None:
        self.url = url


class Logic:
    flow_name = "tests.callables.class"

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs


async def nothing(self: Any) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    "bases, names, problem",
    [
        ((Needs, BaseFlow), {}, "missing a required argument: 'url'"),
        ((BaseFlow,), {"_execute_flow_logic": nothing}, "too many positional arguments"),
        ((BaseFlow,), {"on_failure": "continue"}, "has on_failure"),
        (
            (abc.ABC, BaseFlow),
            {"more": abc.abstractmethod(nothing)},
            "is abstract; it does not define more",
        ),
    ],
)
def test_flow_class_that_no_worker_could_run_is_refused(
    bases: tuple[type, ...], names: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidFlow, match=problem):
        type("Flow", bases, {**vars(Logic), **names})


def test_step_class_that_no_worker_could_make_is_refused() -> None:
    class Question(BaseModel):
        question: str

    with pytest.raises(InvalidFlow, match="cannot be created by a worker"):

        class Asks(Needs, UnstructuredStep):
            step_name = "tests_needs"
            prompt_file = "ask.txt"
            prompts_folder = PROMPTS
            Inputs = Question


def test_wrong_inputs_are_still_wrong_inputs() -> None:
    with pytest.raises(InvalidInput):
        testing.start(loaded("@flow\ndef f(x: int) -> int: return x")["f"], {"x": "many"})
