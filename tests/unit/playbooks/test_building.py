"""Playbooks are built in Python as they are written in YAML (specification 1.6)."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from flowq.core.errors import InvalidInput
from flowq.playbooks import InvalidPlaybook, Playbook, Step, http, python, read_playbook, tool

RATE = 2


def total(rows: list[Any]) -> dict[str, Any]:
    return {"total": sum(row["price"] for row in rows)}


async def depth(tree: Any) -> int:
    """A text with def depth in it."""
    return 1 + max([await depth(one) for one in tree], default=0)


def uses_its_module(n: int) -> Any:
    return json.dumps(n * RATE)


def has_a_default_of_its_module(n: int = RATE, *, kind: type = int) -> Any:
    return kind(n)


def book() -> Playbook:
    return Playbook.new(
        "prices", path="shop/prices", workload={"url": "http://localhost:8123"}, description="d"
    ).add(
        Step("start", http("GET", "{{ workload.url }}/prices"), next="sum", retry=3),
        Step("sum", python(total), args={"rows": "{{ start.rows }}"}),
    )


def test_the_example_of_the_specification() -> None:
    built = book()

    assert built == Playbook.parse(built.to_yaml())
    assert built == read_playbook(built.to_yaml())
    assert hash(built) == hash(Playbook.parse(built.to_yaml()))
    assert ("shop/prices", "d") == (built.metadata.path, built.metadata.description)
    assert ["sum"] == [one.step for one in built.workflow[0].next]
    assert 3 == (built.workflow[0].retry.max_attempts if built.workflow[0].retry else None)


def test_steps_are_added_to_a_playbook() -> None:
    more = book().add(Step("later", tool("noop"), next="start"))

    assert ["start", "sum", "later"] == [step.name for step in more.workflow]
    assert book() != more


def test_what_is_built_is_checked() -> None:
    with pytest.raises(InvalidPlaybook) as refused:
        book().add(Step("later", tool("http"), nxt="start", next="nowhere"))

    assert [
        "workflow[2].tool: 'endpoint' or 'url' is missing",
        "workflow[2] (step 'later'): unknown key 'nxt'; did you mean 'next'?",
        "workflow[2].next: references non-existent step 'nowhere'",
    ] == [str(one) for one in refused.value.problems]


@pytest.mark.parametrize(
    "wrong",
    [{1, 2}, {1: 2}, 10**9999, float("nan"), "\ud800", object()],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_json_lacks_is_refused_with_its_path(wrong: Any) -> None:
    with pytest.raises(InvalidPlaybook) as refused:
        Playbook.new("one").add(Step("start", tool("noop"), args={"a": [wrong]}))

    assert "workflow[0].args.a[0]" == refused.value.problems[0].path


def test_the_source_of_a_function_is_taken() -> None:
    names: dict[str, Any] = {}
    exec(python(total)["code"], names)

    assert {"total": 3} == names["main"]([{"price": 1}, {"price": 2}])
    assert "total" not in names


def test_a_recursive_function_finds_itself() -> None:
    import asyncio

    names: dict[str, Any] = {}
    exec(python(depth)["code"], names)

    assert 3 == asyncio.run(names["main"]([[], [[]]]))
    assert "A text with def depth in it." == names["main"].__doc__


@pytest.mark.parametrize(
    "function, said",
    [
        (uses_its_module, "uses names of its module: RATE, json"),
        (has_a_default_of_its_module, "uses names of its module: RATE"),
        (lambda n: n, "is no plain function"),
        (len, "'len' is no function"),
        (book().to_dict, "is no function"),
    ],
    ids=["names", "default", "lambda", "built-in", "method"],
)
def test_a_function_that_cannot_stand_alone_is_refused(
    function: Callable[..., Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        python(function)


def test_code_is_taken_as_it_is() -> None:
    assert {"kind": "python", "code": "result = 1", "libs": {"m": "math"}} == python(
        "result = 1", libs={"m": "math"}
    )
