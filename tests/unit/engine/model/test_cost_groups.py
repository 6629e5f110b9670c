"""What costs can be grouped by."""

import pytest

from flowq.core.errors import InvalidInput
from flowq.engine.model.model_calls import CostBy, CostGroup


@pytest.mark.parametrize(
    "text,group",
    [
        ("flow", CostGroup(CostBy.FLOW)),
        (" day ", CostGroup(CostBy.DAY)),
        ("metadata.customer", CostGroup(CostBy.METADATA, "customer")),
        ("metadata.a.b c", CostGroup(CostBy.METADATA, "a.b c")),
    ],
)
def test_group_is_read_from_its_text(text: str, group: CostGroup) -> None:
    assert CostGroup.parse(text) == group
    assert CostGroup.parse(str(group)) == group


@pytest.mark.parametrize(
    "text",
    [
        *("", "metadata", "metadata.", "flow.x", "Flow", "customer"),
        *('metadata.a"b', "metadata.a\\b", "metadata." + "x" * 201),
    ],
)
def test_other_groups_are_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(InvalidInput, match="costs cannot be grouped") as raised:
        CostGroup.parse(text)
    assert raised.value.hint
