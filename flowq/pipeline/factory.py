"""Makes executors by name, or one that suits a workflow.

create_executor(ExecutorType.PARALLEL, max_concurrent=5)
create_executor_for_workflow(workflow)
get_executor_factory().register("custom", MyCustomExecutor)
"""

from collections.abc import Callable
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from typing import Any

from flowq.core.errors import InvalidFlow
from flowq.pipeline.executing.executors import CeleryExecutor, ParallelExecutor, SimpleExecutor
from flowq.pipeline.executing.graphs import LangGraphExecutor, is_graph
from flowq.pipeline.protocols import Executor


class ExecutorType(StrEnum):
    """The executors that flowq has."""

    LANGGRAPH = "langgraph"
    SIMPLE = "simple"
    PARALLEL = "parallel"
    CELERY = "celery"
    AUTO = "auto"


class ExecutorFactory:
    """Executors by name."""

    def __init__(self) -> None:
        self._makers: dict[str, Callable[..., Executor]] = {
            ExecutorType.LANGGRAPH: LangGraphExecutor,
            ExecutorType.SIMPLE: SimpleExecutor,
            ExecutorType.PARALLEL: ParallelExecutor,
            ExecutorType.CELERY: CeleryExecutor,
        }
        self._default: str = ExecutorType.LANGGRAPH

    def register(self, name: Any, maker: Callable[..., Executor]) -> None:
        """Make `name` known, with a class or a function that makes the executor.

        Raises:
            InvalidFlow: the name is not a text, or the maker cannot be called.
        """
        if not isinstance(name, str) or not name or name == ExecutorType.AUTO:
            raise InvalidFlow(f"an executor cannot be named {name!r}", hint="give another text")
        if not callable(maker):
            raise InvalidFlow(f"{maker!r} makes no executor", hint="give its class")
        self._makers[str(name)] = maker

    def set_default(self, name: str) -> None:
        """Set which executor `auto` makes without a workflow.

        Raises:
            ValueError: it is not known.
        """
        self._maker(name)
        self._default = str(name)

    def create(self, executor_type: str = ExecutorType.AUTO, **options: Any) -> Executor:
        """Make an executor.

        Args:
            executor_type: An `ExecutorType` or a registered name; `auto` makes the default, or a
                `SimpleExecutor` where the library of the default is missing.
            options: Its arguments.

        Raises:
            ValueError: the name is not known.
            ImportError: it needs LangGraph, which is not installed.
        """
        name = str(executor_type)
        if name == ExecutorType.AUTO:
            missing = self._default == ExecutorType.LANGGRAPH and find_spec("langgraph") is None
            name = ExecutorType.SIMPLE if missing else self._default
        return self._maker(name)(**options)

    def create_for_workflow(self, workflow: Any, **options: Any) -> Executor:
        """Make an executor that suits a workflow: by whether it is a graph, and its nodes."""
        if is_graph(workflow):
            return self.create(ExecutorType.LANGGRAPH, **options)
        nodes = getattr(workflow, "nodes", None)
        if nodes is None:
            return self.create(self._default, **options)
        count = len(nodes)
        if count > 3 and getattr(workflow, "parallel_capable", False):
            most = {"max_concurrent": estimate_concurrency(count)}
            return self.create(ExecutorType.PARALLEL, **{**most, **options})
        return self.create(ExecutorType.SIMPLE, **options)

    def _maker(self, name: str) -> Callable[..., Executor]:
        try:
            return self._makers[str(name)]
        except KeyError:
            known = [*self._makers, str(ExecutorType.AUTO)]
            raise ValueError(
                f"Unknown executor type: {name}. Available types: {[str(one) for one in known]}"
            ) from None


def estimate_concurrency(nodes: int) -> int:
    """Return how many of so many nodes should run at once."""
    if nodes <= 3:
        return 3
    return 5 if nodes <= 10 else 10


@cache
def get_executor_factory() -> ExecutorFactory:
    """Return the factory of this process."""
    return ExecutorFactory()


def create_executor(executor_type: str = ExecutorType.AUTO, **options: Any) -> Executor:
    """Make an executor; see `ExecutorFactory.create`."""
    return get_executor_factory().create(executor_type, **options)


def create_executor_for_workflow(workflow: Any, **options: Any) -> Executor:
    """Make an executor that suits a workflow; see `ExecutorFactory.create_for_workflow`."""
    return get_executor_factory().create_for_workflow(workflow, **options)
