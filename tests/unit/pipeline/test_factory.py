"""Executors by name, and the one that suits a workflow."""

from types import SimpleNamespace
from typing import Any

import pytest

from flowq.core.errors import InvalidFlow
from flowq.pipeline import (
    CeleryExecutor,
    ExecutionContext,
    ExecutionResult,
    ExecutorFactory,
    ExecutorType,
    Node,
    NodeWorkflow,
    ParallelExecutor,
    SimpleExecutor,
    create_executor,
    create_executor_for_workflow,
    factory,
    get_executor_factory,
)
from flowq.pipeline.executing import graphs
from flowq.pipeline.factory import estimate_concurrency


class MyCustomExecutor:
    def __init__(self, size: int = 1) -> None:
        self.size = size

    async def execute(self, workflow: Any, context: ExecutionContext) -> ExecutionResult:
        return ExecutionResult({"size": self.size})


class StateGraph:
    def compile(self) -> None:
        """Do nothing."""


class Graphics:
    nodes: tuple[Any, ...] = ()


@pytest.fixture
def without_langgraph(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (factory, graphs):
        monkeypatch.setattr(module, "find_spec", lambda _: None)


@pytest.fixture
def with_langgraph(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (factory, graphs):
        monkeypatch.setattr(module, "find_spec", lambda name: name)


def test_executors_by_name() -> None:
    assert ParallelExecutor(max_concurrent=5) == create_executor(
        ExecutorType.PARALLEL, max_concurrent=5
    )
    assert SimpleExecutor(where="workers") == create_executor("simple", where="workers")
    assert CeleryExecutor() == create_executor(ExecutorType.CELERY)


def test_an_unknown_name_is_refused() -> None:
    message = (
        r"^Unknown executor type: X. Available types: "
        r"\['langgraph', 'simple', 'parallel', 'celery', 'auto'\]$"
    )
    with pytest.raises(ValueError, match=message):
        ExecutorFactory().create("X")
    with pytest.raises(ValueError, match=r"^Unknown executor type: X"):
        ExecutorFactory().set_default("X")


def test_own_executors_are_registered() -> None:
    made = ExecutorFactory()
    made.register("custom", MyCustomExecutor)
    executor = made.create("custom", size=3)
    assert isinstance(executor, MyCustomExecutor)
    assert executor.size == 3

    made.set_default("custom")
    assert isinstance(made.create(ExecutorType.AUTO), MyCustomExecutor)
    assert isinstance(made.create_for_workflow(object()), MyCustomExecutor)
    for name, maker in (("auto", MyCustomExecutor), ("", MyCustomExecutor), ("x", "y")):
        with pytest.raises(InvalidFlow):
            made.register(name, maker)  # type: ignore[arg-type]


def test_the_factory_of_the_process_is_one() -> None:
    assert get_executor_factory() is get_executor_factory()


@pytest.mark.usefixtures("without_langgraph")
def test_without_langgraph() -> None:
    assert SimpleExecutor() == create_executor()
    with pytest.raises(ImportError, match=r"pip install 'flowq\[langgraph\]'"):
        create_executor(ExecutorType.LANGGRAPH)


@pytest.mark.usefixtures("with_langgraph")
def test_with_langgraph_it_is_the_default() -> None:
    assert isinstance(create_executor(), graphs.LangGraphExecutor)


def _nodes(count: int, after: int) -> NodeWorkflow:
    nodes = [Node(f"n{number}", print) for number in range(count)]
    return NodeWorkflow("w", nodes, edges=[(f"n{one}", f"n{one + 1}") for one in range(after)])


@pytest.mark.usefixtures("with_langgraph")
@pytest.mark.parametrize(
    "workflow, expected",
    [
        (StateGraph(), graphs.LangGraphExecutor),
        (object(), graphs.LangGraphExecutor),
        (Graphics(), SimpleExecutor()),
        (_nodes(3, 0), SimpleExecutor()),
        (_nodes(4, 0), ParallelExecutor(max_concurrent=5)),
        (_nodes(11, 3), ParallelExecutor(max_concurrent=10)),
        (_nodes(6, 5), SimpleExecutor()),
        (
            SimpleNamespace(nodes=range(9), parallel_capable=True),
            ParallelExecutor(max_concurrent=5),
        ),
    ],
)
def test_the_one_that_suits(workflow: Any, expected: Any) -> None:
    made = create_executor_for_workflow(workflow)
    assert made == (expected() if isinstance(expected, type) else expected)


def test_how_many_at_once() -> None:
    assert [3, 3, 5, 5, 10] == [estimate_concurrency(nodes) for nodes in (1, 3, 4, 10, 11)]
