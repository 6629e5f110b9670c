"""The model of an entry's actions has the seed's fields (rows N36, N37)."""

from typing import Any

import pytest
from pydantic import ValidationError

from flowq.playbooks import ThenBlock, ToolCall
from flowq.playbooks.document.models import Call, Collect, Fail, Next, Page, Retry, Set, Transition


def test_actions_are_in_the_order_in_which_they_run() -> None:
    block = ThenBlock(
        next="end", collect={"from": "response.items", "into": "all"}, set={"a": 1}, fail="no"
    )

    assert ["set", "collect", "next", "fail"] == list(block.plain())
    assert (
        Set({"a": 1}),
        Collect("response.items", into="all"),
        Next((Transition("end"),)),
        Fail("no"),
    ) == block.actions()
    assert block.plain() == block.model_dump(exclude_unset=True)
    assert block == ThenBlock.model_validate_json(block.model_dump_json(exclude_unset=True))


@pytest.mark.parametrize(
    "fields, made",
    [
        ({"retry": {"max_attempts": 5}}, Retry(5)),
        ({"retry": True}, Retry()),
        ({"retry": {"params": {"page": 2}}}, Page({"params": {"page": 2}})),
        ({"call": {"url": "x", "body": 1}}, Call({"endpoint": "x", "data": 1})),
        ({"next": [{"step": "a", "args": {"b": 1}}]}, Next((Transition("a", {"b": 1}),))),
    ],
)
def test_each_field_has_the_forms_of_a_document(fields: dict[str, Any], made: object) -> None:
    assert (made,) == ThenBlock(**fields).actions()


@pytest.mark.parametrize(
    "fields, said",
    [
        ({}, "write at least one action"),
        ({"jump": "a"}, "Extra inputs"),
        ({"retry": {"max_attempts": 0}}, "must be a whole number from 1"),
        ({"sink": {"args": {}}}, "'tool' or 'backend' is missing"),
        ({"set": {"a": "{{ b c }}"}}, "set.a: expected token"),
    ],
)
def test_what_is_wrong_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ThenBlock(**fields)


def test_a_call_of_a_tool_has_a_kind_and_its_configuration() -> None:
    call = ToolCall(kind="http", config={"endpoint": "x"})
    assert ("http", {"endpoint": "x"}) == (call.kind, call.config)
