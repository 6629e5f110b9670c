"""A sink says which database it stores in; what can never be stored is refused (row N45)."""

import pytest

from flowq.playbooks import InvalidPlaybook
from flowq.playbooks.document.reading import read
from flowq.playbooks.parser import load, playbook_of

KEYCHAIN = "keychain: [{name: lake, kind: duckdb}, {name: api, kind: bearer}]\n"
HEAD = f"apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: one}}\n{KEYCHAIN}"
#: Every place that a sink has in a document; SINK stands for it.
PLACES = {
    "step": "workflow: [{step: start, tool: {kind: noop}, sink: SINK}]",
    "case": "workflow: [{step: start, tool: {kind: noop}, case: [{when: a, then: {sink: SINK}}]}]",
    "list": (
        "workflow: [{step: start, tool: {kind: noop}, case: [{when: a, then: [{sink: SINK}]}]}]"
    ),
    "retry": (
        "workflow: [{step: start, tool: {kind: http, url: x}, "
        "retry: [{when: a, then: {next_call: {params: {}}, sink: SINK}}]}]"
    ),
    "task": (
        "workbook: [{name: t, tool: {kind: noop}, sink: SINK}]\n"
        "workflow: [{step: start, tool: {kind: workbook, task: t}}]"
    ),
}


def said(sink: str, place: str = "step") -> tuple[list[str], list[str]]:
    """Return the problems and the warnings of a document with a sink."""
    source = HEAD + PLACES[place].replace("SINK", sink)
    try:
        found = load(source)
    except InvalidPlaybook as error:
        return [one.message for one in error.problems], []
    assert found.playbook == playbook_of(read(found.playbook.to_yaml()).data)
    return [], [one.message for one in found.warnings]


@pytest.mark.parametrize(
    "sink",
    [
        "{backend: lake, table: t, from: response}",
        "{backend: sqlite, database: a.db, table: t, from: response}",
        "{backend: duckdb, database: '{{ workload.file }}', table: t, from: response}",
        "{backend: postgres, auth: shop, table: '{{ workload.t }}', from: [{a: 1}], mode: ignore}",
        "{backend: sqlite, auth: shop, table: t, from: '{{ response }}'}",
        "{tool: {kind: sqlite, database: a.db, table: t, data: '{{ response }}'}}",
        "{tool: {kind: postgres, auth: shop, table: t, data: {a: 1}}, on_error: ignore}",
        "{tool: {kind: sql, auth: lake, command: 'SELECT 1'}}",
        "{tool: {kind: sqlite, command: 'SELECT 1'}}",
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_says_its_database_is_read(sink: str, place: str) -> None:
    assert ([], []) == said(sink, place)


@pytest.mark.parametrize(
    "sink, problem",
    [
        ("{backend: lake, from: a}", "'table' is missing: 'backend' needs it"),
        ("{backend: lake, table: t}", "'from' is missing: 'backend' needs it"),
        ("{backend: postgre, auth: a, table: t, from: a}", "did you mean 'postgres'?"),
        ("{backend: mongo, auth: a, table: t, from: a}", "known are postgres, sqlite, duckdb"),
        ("{backend: postgres, database: a, table: t, from: a}", "postgres needs 'auth'"),
        ("{backend: sqlite, database: ':memory:', table: t, from: a}", "write 'database', a file"),
        ("{backend: api, table: t, from: a}", "'api' is of the kind 'bearer', no database"),
        ("{backend: lake, tool: {kind: noop}, table: t, from: a}", "keep one of them"),
        (
            "{tool: {kind: noop}, table: t}",
            "'table' stands beside 'backend'; write it below 'tool'",
        ),
        ("{tool: {kind: sqlite, table: t, data: a}}", "write 'database', a file"),
        ("{tool: {kind: duckdb, table: t, data: a, database: ':memory:'}}", "write 'database'"),
        ("{tool: {kind: sqlite, database: f, table: t}}", "'data' is missing"),
        ("{tool: {kind: postgres, table: t, data: a}}", "postgres needs 'auth'"),
        ("{tool: {kind: sql, command: x}}", "sql needs 'auth'"),
        ("{tool: {kind: workbook, task: t}}", "a sink cannot call the workbook"),
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_can_never_be_stored_is_refused(sink: str, problem: str, place: str) -> None:
    [found], _ = said(sink, place)
    assert problem in found


@pytest.mark.parametrize(
    "sink, warning",
    [
        (
            "{backend: sqlite, table: t, from: a}",
            "write 'database', a file in FLOWQ_PLAYBOOK_FILES",
        ),
        (
            "{backend: postgres, table: t, from: a}",
            "write 'auth', the name of a credential, beside",
        ),
        ("{backend: shop, table: t, from: a}", "declare it in 'keychain'"),
        ("{tool: {kind: postgres, command: 'SELECT 1'}}", "postgres needs 'auth'"),
    ],
)
def test_what_nothing_declares_is_a_warning(sink: str, warning: str) -> None:
    problems, [found] = said(sink)
    assert [] == problems
    assert warning in found


@pytest.mark.parametrize(
    "sink",
    ["7", "[]", "{backend: 7, table: [], from: a}", "{backend: lake, tool: 7}", "{tool: []}"],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_sink_is_a_problem_and_no_exception(sink: str, place: str) -> None:
    assert said(sink, place)[0]
