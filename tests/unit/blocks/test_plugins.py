"""Edge types of users: what the decorator accepts, and what it refuses."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from flowq.blocks.edge_types import _types, edge_type
from flowq.core.errors import InvalidFlow
from flowq.engine.registry.registry import registry


@pytest.fixture(autouse=True)
def _own_types() -> Iterator[None]:
    """Types that a test registers are forgotten after it."""
    known = dict(_types)
    with registry.forgetting():
        yield
    _types.clear()
    _types.update(known)


def good(config: dict[str, Any], contents: dict[str, Any]) -> Any:
    return config, contents


class Callable:
    def __call__(self, config: Any, contents: Any) -> Any:
        return config, contents


def with_more(config: Any, contents: Any, more: int = 1) -> Any:
    return config, contents, more


@pytest.mark.parametrize("name", ["translate", "search.web", "chunk.by-title", "my_type2"])
@pytest.mark.parametrize("function", [good, with_more, partial(with_more, more=2), Callable()])
def test_a_function_of_settings_and_contents_is_accepted(name: str, function: Any) -> None:
    assert edge_type(name)(function) is function
    assert _types[name].function is function


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a.b.c", ".a", "a.", "1a", "é", "a\n", "x" * 99, None, 5]
)
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(InvalidFlow, match=r"the name of an edge type is .*test_plugins.py:\d+"):
        edge_type(name)(good)


@pytest.mark.parametrize(
    "function, why",
    [
        (5, "no function"),
        (lambda config, contents: (config, contents), "lambda"),
        (lambda: None, "lambda"),
        (len, "cannot be called"),
        (test_a_name_that_is_none_is_refused, "cannot be called with .*test_plugins.py"),
    ],
)
def test_what_is_no_such_function_is_refused(function: Any, why: str) -> None:
    with pytest.raises(InvalidFlow, match=why):
        edge_type("mine")(function)


def test_two_types_of_one_name_are_named_with_their_places() -> None:
    edge_type("mine")(good)
    edge_type("mine")(good)  # the same again, as in a reload
    with pytest.raises(InvalidFlow) as refusal:
        edge_type("mine")(with_more)
    first, second = (function.__code__.co_firstlineno for function in (good, with_more))
    assert refusal.value.message == (
        "two edge types are named 'mine': "
        f"good (tests/unit/blocks/test_plugins.py:{first}) and "
        f"with_more (tests/unit/blocks/test_plugins.py:{second})"
    )


@pytest.mark.parametrize("name", ["modify", "ifelse", "search.keyword"])
def test_the_types_that_ship_cannot_be_replaced(name: str) -> None:
    before = _types[name]
    with pytest.raises(InvalidFlow, match=f"{name!r} is one of flowq's own"):
        edge_type(name)(good)
    assert _types[name] is before
