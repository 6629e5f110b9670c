"""N70, G3: whatever way a result is passed on, no row of a call has a copy of it.

A table over the ways and the sizes: each runs to the same result, and its largest row is bounded.
"""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from flowq.playbooks.parser import read_playbook
from flowq.playbooks.running.stored import find
from flowq.testing.runs import StartedRun
from tests.integration.playbooks.test_program import HEAD, settings, started

__all__ = ["settings"]

MAKE = "result = {'rows': [{'text': 'x' * size}], 'page': page, 'more': page < count}"
#: Counts what it gets, whatever shape that has.
SUM = """
  - step: sum
    tool:
      kind: python
      code: |
        def texts(value):
            if isinstance(value, dict):
                return [text for one in value.values() for text in texts(one)]
            if isinstance(value, list):
                return [text for one in value for text in texts(one)]
            return [value] if isinstance(value, str) else []
        def main(value):
            return [len(texts(value)), sum(map(len, texts(value)))]
    args: {value: "{{ VALUE }}"}
"""
ONE = """
workflow:
  - step: start
    tool: {kind: python, code: CODE}
    args: {size: "{{ workload.size }}", page: 1, count: 1}
    next: sum
"""
LOOP = """
workflow:
  - step: start
    loop: {in: "{{ workload.pages }}", iterator: n, mode: MODE, on_error: ON_ERROR}
    tool: {kind: python, code: CODE}
    args: {size: "{{ workload.size }}", page: "{{ n }}", count: 1}
    next: sum
"""
PAGES = """
workflow:
  - step: start
    tool:
      kind: python
      code: CODE
      args: {size: "{{ workload.size }}", page: 1, count: "{{ workload.pages | length }}"}
    case:
      - when: event.name == 'call.done' and response.more
        then:
          collect: {from: response.rows, into: all, mode: MODE}
          call: {args: {page: "{{ response.page + 1 }}"}}
      - when: event.name == 'call.done'
        then: {collect: {from: response.rows, into: all, mode: MODE}}
    next: sum
"""
CHILD = """
workflow:
  - step: start
    tool: {kind: playbook, path: tests/child}
    args: {size: "{{ workload.size }}"}
    next: sum
"""
SINK = """
workflow:
  - step: start
    tool: {kind: python, code: CODE}
    args: {size: "{{ workload.size }}", page: 1, count: 1}
    sink:
      tool:
        kind: python
        code: result = len(data['rows']) + len(rows)
        args: {data: "{{ result }}", rows: "{{ result.rows }}"}
    next: sum
"""
#: A loop over a large list: of each item a call, or a row of a map.
OVER = """
workflow:
  - step: start
    tool: {kind: python, code: "result = ['x' * size for _ in range(count)]"}
    args: {size: "{{ workload.size }}", count: "{{ workload.pages | length }}"}
    next: each
  - step: each
    loop: {in: "{{ start }}", iterator: n, mode: MODE}
    tool: {kind: python, code: "result = len(text)", args: {text: "{{ n }}"}}
    args: {same: "{{ n }}"}
    next: sum
"""
#: A child that gets a large result.
TWO = """
  - step: two
    tool: {kind: playbook, path: tests/child, payload: {rows: "{{ start.rows }}"}}
"""
#: The largest size of which each is short: of it there are so many that all together are large.
MANY = 500
#: The ways: the document, what its last step gets, and the texts of one size that this has.
WAYS: dict[str, tuple[str, str, str]] = {
    "whole": (ONE, "start", "one"),
    "part": (ONE, "start.rows[0].text", "one"),
    "made": (ONE, "{'a': start, 'b': [start.rows]}", "two"),
    "parallel": (LOOP.replace("MODE", "parallel"), "loop_results", "each"),
    "parallel, collected": (
        LOOP.replace("MODE", "parallel").replace("on_error: ON_ERROR", "on_error: collect"),
        "loop_results.results",
        "each",
    ),
    "sequential": (LOOP.replace("MODE", "sequential"), "loop_results.results", "each"),
    "append": (PAGES.replace("MODE", "append"), "all", "each"),
    "extend": (PAGES.replace("MODE", "extend"), "ctx.all", "each"),
    "result of pages": (PAGES.replace("MODE", "extend"), "start._all_collected_items", "each"),
    "child": (CHILD, "start", "one"),
    "part of a child": (CHILD, "start.rows", "one"),
    "sink": (SINK, "start", "one"),
    "over, parallel": (OVER.replace("MODE", "parallel"), "start", "each"),
    "over, sequential": (OVER.replace("MODE", "sequential"), "start", "each"),
}


def document(text: str, value: str) -> str:
    body = text.replace("CODE", json.dumps(MAKE)).replace("ON_ERROR", "fail")
    return body + SUM.replace("VALUE", value)


def child() -> dict[str, Any]:
    head = HEAD.replace("test}", "child}").replace("tests/test", "tests/child")
    text = (head + ONE).replace("CODE", json.dumps(MAKE)).replace("    next: sum\n", "")
    return read_playbook(text).to_dict()


def largest(run: StartedRun) -> int:
    """Return the bytes of the largest row of a call: what it is called with."""
    query = sa.text(
        "SELECT length(coalesce(inputs, '')) + length(coalesce(spec, '')) FROM flow_step_runs"
    )
    with run.stage.engine.records.engine.connect() as connection:  # type: ignore[attr-defined]
        return max(int(row[0]) for row in connection.execute(query))


@pytest.mark.parametrize("size", [20, MANY, 2000, 30_000, 70_000, 2_000_000])
@pytest.mark.parametrize("way", WAYS)
def test_no_row_has_a_copy_of_a_result(way: str, size: int) -> None:
    text, value, expected = WAYS[way]
    pages = list(range(1, 100)) if size == MANY else [1, 2, 3]
    known = child()

    with started(document(text, value), {find: lambda *_: known}, size=size, pages=pages) as run:
        found = run.result()["result"]
        assert [size * {"one": 1, "two": 2, "each": len(pages)}[expected]] == found[1:]
        # 99 items have 99 references, each of 60 to 120 bytes.
        assert 64 * 1024 > largest(run)


@pytest.mark.parametrize("size", [2000, 70_000])
def test_failures_of_a_map_do_not_load_what_went_well(size: int) -> None:
    text = LOOP.replace("MODE", "parallel").replace("on_error: ON_ERROR", "on_error: collect")
    code = "result = 'x' * size if page != 2 else 1 / 0"
    text = text.replace("CODE", json.dumps(code)) + SUM.replace("VALUE", "loop_results")

    with started(text, size=size, pages=[1, 2, 3]) as run:
        found = run.result()["result"]
        results = next(one for one in run.steps if one.key.startswith("sum")).inputs or {}
        assert 2 * size <= found[1] < 2 * size + 2000
    value = results["args"]["value"]
    assert {"total": 3, "success": 2, "failed": 1} == value["stats"]
    names = [value["results"][at]["$data"] for at in (0, 2)]
    assert [{"$ref": "start#t1.1", "path": [at]} for at in (0, 2)] == names
    assert "ZeroDivisionError" == value["results"][1]["error"]["type"]


def test_short_results_stand_in_the_row_as_they_are() -> None:
    with started(document(ONE, "start"), size=500) as run:
        run.result()
        inputs = next(one for one in run.steps if one.key.startswith("sum")).inputs or {}

    whole = {"rows": [{"text": "x" * 500}], "page": 1, "more": False}
    assert {"value": whole} == inputs["args"]


@pytest.mark.parametrize("is_handled", [True, False])
def test_step_with_too_much_that_is_computed_fails(is_handled: bool) -> None:  # noqa: FBT001
    long = "(start.rows | first).text ~ 'y'"
    text = document(ONE, f"[{long}, {long}]")
    if is_handled:
        text += "    case: [{when: error is defined, then: {result: '{{ error.message }}'}}]\n"

    with started(text, size=600_000) as run:
        run.finish()
        said = str(run.result()["result"] if is_handled else run.view().error)
        assert "the arguments of step 'sum#t2.1' have 1,200," in said
        assert "raise FLOWQ_INPUT_LIMIT_BYTES" in said
        assert is_handled or "step 'sum' failed: InvalidInput" in said
        assert ["playbook", "start#t1.1"] == [one.key for one in run.steps]


def test_large_document_of_a_child_is_in_no_row_of_its_parent() -> None:
    known = child()
    known["workload"] = {"size": 10, "text": "t" * 100_000}

    with started(document(CHILD, "start"), {find: lambda *_: known}, size=10) as run:
        assert [1, 10] == run.result()["result"]
        [called] = [one for one in run.steps if one.key.startswith("start#")]
    assert {"$ref": "start.find#t1.1"} == (called.inputs or {})["document"]


def test_variables_of_python_code_are_named_too() -> None:
    text = document(ONE, "start").replace("    next: sum\n", "    vars: {kept: '{{ result }}'}\n")
    text = text.replace("    vars", "    next: look\n    vars")
    code = "def main(context): return len(str(context))"
    text += f"  - {{step: look, tool: {{kind: python, code: '{code}'}}}}\n"

    with started(text, size=30_000) as run:
        assert run.result()["result"] > 30_000
        assert 10_000 > largest(run)


def test_payload_of_a_child_may_be_a_large_result() -> None:
    text = document(ONE, "two").replace("next: sum", "next: two").split("  - step: sum")[0]
    text += TWO
    last = "workflow:\n  - step: start\n    tool: {kind: noop}\n"
    last += '    result: "{{ workload.rows[0].text | length }}"\n'
    known = read_playbook(HEAD + last).to_dict()

    with started(text, {find: lambda *_: known}, size=30_000) as run:
        assert 30_000 == run.result()["result"]
        [called] = [one for one in run.steps if one.key.startswith("two#")]
        assert 1000 > len(json.dumps(called.inputs))


def test_payload_of_a_child_over_the_limit_of_inputs_fails_its_step() -> None:
    text = document(ONE, "two").replace("next: sum", "next: two").split("  - step: sum")[0]
    known = child()

    with started(text + TWO, {find: lambda *_: known}, size=2_000_000) as run:
        run.finish()
        assert "step 'two' failed" in (run.view().error or "")
        assert "the limit is 1,048,576" in (run.view().error or "")
