"""What holds for every document: drawn ones, changed ones, and any text at all (rows N9, N11)."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowq.playbooks import InvalidPlaybook, Playbook, read_playbook
from flowq.playbooks.document.grammar.documents import json_schema
from flowq.playbooks.document.problems import Problem
from flowq.playbooks.document.reading import read
from flowq.playbooks.document.writing import as_yaml
from flowq.playbooks.parser import playbook_of
from tests.tools.playbooks.strategies import documents

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
SLOW = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
#: What a part of a document is replaced by.
WRONG: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, "", "{{", "{{ a b }}", "nowhere", [], {}, [{}], {"x": 1}, "#"]
)


def parts(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all parts of some data."""
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    return [path, *(found for key, one in items for found in parts(one, (*path, key)))]


def problems_of(work: Callable[[], Playbook]) -> tuple[Problem, ...]:
    """Return the problems of a document; none if it is read."""
    try:
        work()
    except InvalidPlaybook as error:
        return error.problems
    return ()


@SLOW
@given(documents())
def test_n11_a_valid_document_is_read_written_and_read_again(data: dict[str, Any]) -> None:
    playbook = read_playbook(as_yaml(data))

    assert playbook == playbook_of(data)
    assert playbook == Playbook.of(playbook.to_dict())
    assert playbook == read_playbook(playbook.to_yaml())
    assert playbook == read_playbook(json.dumps(playbook.to_dict()))
    assert playbook.digest == read_playbook(playbook.to_yaml()).digest


@SLOW
@given(documents())
def test_an_editor_accepts_what_is_valid(data: dict[str, Any]) -> None:
    VALIDATOR.validate(data)
    VALIDATOR.validate(playbook_of(data).to_dict())


@SLOW
@given(st.data())
def test_n9_a_changed_document_is_read_or_has_problems_with_places(drawn: st.DataObject) -> None:
    data = json.loads(json.dumps(drawn.draw(documents())))
    for _ in range(drawn.draw(st.integers(1, 3))):
        path = drawn.draw(st.sampled_from(parts(data)[1:] or [()]))
        if not path:
            break
        owner = data
        for key in path[:-1]:
            owner = owner[key]
        if drawn.draw(st.booleans()):
            owner[path[-1]] = drawn.draw(WRONG)
        elif isinstance(owner, dict):
            owner[drawn.draw(st.sampled_from(["when", "then", "step", "next", "tool", "x"]))] = (
                owner.pop(path[-1])
            )
    text = as_yaml(data)
    problems = problems_of(lambda: read_playbook(text))
    lines = text.count("\n") + 1

    assert all(1 <= one.line <= lines and one.column >= 1 for one in problems)
    assert sorted(one.message for one in problems) == sorted(
        one.message for one in problems_of(lambda: playbook_of(data))
    )
    if not problems:
        assert read_playbook(text) == read_playbook(read_playbook(text).to_yaml())


@given(JSON)
def test_data_comes_back_from_yaml(data: Any) -> None:
    done = read(as_yaml({"data": data}))

    assert () == done.problems
    assert {"data": data} == done.data


@given(st.text() | st.text(alphabet="{}[]:,-?&*!|>'\"%@` \n\tab01<~.") | st.binary(max_size=60))
def test_any_text_is_read_or_refused(source: str | bytes) -> None:
    with pytest.raises(InvalidPlaybook) as refused:
        read_playbook(source)

    assert all(one.line >= 1 and one.column >= 1 for one in refused.value.problems)
