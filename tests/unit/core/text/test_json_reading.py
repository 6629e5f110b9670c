"""JSON is read strictly, and every failure is a `JSONDecodeError`."""

import json
import pickle

import pytest

from flowq.core.text.json_reading import loads
from flowq.workflows import InvalidWorkflow, Workflow


def test_json_is_read() -> None:
    assert {"a": [1, {"b": None}]} == loads(b'{"a": [1, {"b": null}]}')


@pytest.mark.parametrize(
    "text, why",
    [
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' is there more than once in one object"),
        (b'{"a": "\xff"}', "it is not UTF-8, from byte 7 on"),
        ("[" * 100_000, "it nests too deep"),
        ("9" * 5000, "it has an integer with too many digits"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(json.JSONDecodeError) as refused:
        loads(text)
    assert why == str(refused.value) == str(pickle.loads(pickle.dumps(refused.value)))
    with pytest.raises(InvalidWorkflow, match=f"it is not JSON: {why}"):
        Workflow.from_json(text)


def test_the_place_of_other_errors_is_kept() -> None:
    with pytest.raises(json.JSONDecodeError, match="line 2 column 3"):
        loads("{\n  a}")
