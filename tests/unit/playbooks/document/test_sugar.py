"""Sugar is rewritten into plain entries (specification 2.8; rows N31, N36, N71)."""

from typing import Any

import pytest

from flowq.playbooks import Playbook, read_playbook
from flowq.playbooks.document.reading import read
from flowq.playbooks.parser import playbook_of

DONE = "event.name == 'call.done'"
FAILED = f"{DONE} and error is defined"
SUCCEEDED = f"{DONE} and error is not defined"
#: Where sinks store: a file, a kind with a credential, a credential that says its kind.
FILE = {"kind": "sqlite", "database": "f"}
SHOP = {"kind": "postgres", "auth": "shop"}
LAKE = {"kind": "sql", "auth": "lake"}


def expanded(keys: str, kind: str = "{kind: http, url: x}") -> dict[str, Any]:
    """Return the canonical form of a step `start` with some keys, without its name and tool."""
    step = {"step": "start", "tool": read(kind).data, **read(keys).data}
    done = playbook_of(
        {
            "apiVersion": "noetl.io/v2",
            "kind": "Playbook",
            "metadata": {"name": "one"},
            "workflow": [step],
        }
    )
    assert done == Playbook.of(done.to_dict())
    assert done == read_playbook(done.to_yaml())
    made: dict[str, Any] = done.to_dict()["workflow"][0]
    return {key: value for key, value in made.items() if key not in {"step", "tool"}}


def actions(then: str) -> list[Any]:
    """Return the actions of an entry in their canonical form."""
    made: list[Any] = expanded(f"case: [{{when: a, then: {then}}}]")["case"][0]["then"]
    return made


def policy(**changes: float) -> dict[str, float]:
    defaults = {"max_attempts": 3, "initial_delay": 1.0, "backoff_multiplier": 2.0}
    return {**defaults, "max_delay": 60.0, "jitter": 0.5, **changes}


@pytest.mark.parametrize(
    "retry, made",
    [
        ("true", policy()),
        ("5", policy(max_attempts=5)),
        ("{max_attempts: 2, initial_delay: 3}", policy(max_attempts=2, initial_delay=3.0)),
        ("{jitter: false, max_delay: 9}", policy(jitter=0.0, max_delay=9.0)),
        ("{jitter: 0.1, backoff_multiplier: 3}", policy(jitter=0.1, backoff_multiplier=3.0)),
    ],
)
def test_n71_retry_of_a_step_is_the_policy_of_its_calls(retry: str, made: object) -> None:
    assert {"retry": made} == expanded(f"retry: {retry}")


def test_n71_no_retry() -> None:
    assert {} == expanded("retry: false")


def test_n71_retry_with_conditions_is_a_first_entry() -> None:
    keys = """
      retry: {max_attempts: 2, retry_when: "{{ error.status == 503 }}", stop_when: error.fatal}
      case: [{when: b, then: {skip: true}}]
    """
    retry = {"max_attempts": 2, "initial_delay": 1, "backoff_multiplier": 2, "max_delay": 60}

    assert [
        {
            "when": f"{FAILED} and (error.status == 503) and not (error.fatal)",
            "then": [{"retry": retry}],
        },
        {"when": "b", "then": [{"skip": {}}]},
    ] == expanded(keys)["case"]


def test_n71_a_condition_on_the_response_repeats_a_success() -> None:
    case = expanded("retry: {retry_when: response.data.state == 'running'}")["case"]

    assert f"{SUCCEEDED} and (response.data.state == 'running')" == case[0]["when"]


def test_n71_a_list_of_retries_is_a_list_of_entries() -> None:
    keys = """
      retry:
        - when: "{{ response.data.more and _retry.index < 9 and '_retry.index' }}"
          then:
            max_attempts: 10
            next_call: {url: "{{ response.data.next }}?n={{ _retry.count }} _retry.count"}
            collect: {path: items, strategy: extend}
        - {when: error.status == 429, then: {max_attempts: 4}}
    """

    assert [
        {
            "when": f"{SUCCEEDED} and (response.data.more and event.page < 9 and '_retry.index')",
            "then": [
                {"collect": {"path": "items", "strategy": "extend"}},
                {
                    "retry": {
                        "endpoint": "{{ response.data.next }}?n={{ (event.page - 1) }}"
                        " _retry.count",
                        "max_attempts": 10,
                    }
                },
            ],
        },
        {
            "when": f"{FAILED} and (error.status == 429)",
            "then": [
                {"retry": {"max_attempts": 4, "initial_delay": 0.5, "backoff_multiplier": 2.0}}
            ],
        },
    ] == expanded(keys)["case"]


def test_n31_pagination_is_two_entries_and_a_retry_of_pages() -> None:
    keys = """
      loop:
        in: [1]
        iterator: city
        pagination:
          continue_while: "{{ response.data.more and iteration < 5 and x.iteration }}"
          next_page: {params: {page: "{{ iteration + 2 }}", seen: "{{ accumulated | length }}"}}
          merge_strategy: extend
          merge_path: items
          max_iterations: 7
          retry: {max_attempts: 4, backoff: linear, delay: 2}
    """
    collect = {"collect": {"path": "items", "strategy": "extend"}}
    made = expanded(keys)

    assert {"in": [1], "iterator": "city"} == made["loop"]
    assert [
        {
            "when": FAILED,
            "then": [
                {
                    "retry": {
                        "max_attempts": 4,
                        "initial_delay": 2,
                        "backoff_multiplier": 2.0,
                        "backoff": "linear",
                    }
                }
            ],
        },
        {
            "when": f"{SUCCEEDED} and"
            " (response.data.more and (event.page - 1) < 5 and x.iteration)",
            "then": [
                collect,
                {
                    "retry": {
                        "params": {
                            "page": "{{ (event.page - 1) + 2 }}",
                            "seen": "{{ event.collected | length }}",
                        },
                        "max_attempts": 7,
                    }
                },
            ],
        },
        {"when": SUCCEEDED, "then": [collect]},
    ] == made["case"]


def test_n36_actions_of_a_mapping_run_in_one_order_and_those_of_a_list_in_theirs() -> None:
    assert ["set", "collect", "next", "fail"] == [
        key
        for one in actions("{fail: no, next: end, set: {a: 1}, collect: {from: b, into: c}}")
        for key in one
    ]
    assert [{"fail": {"message": "no"}}, {"set": {"ctx": {"a": 1}}}] == actions(
        "[{fail: no}, {set: {a: 1}}]"
    )


@pytest.mark.parametrize(
    "written, made",
    [
        (
            "{set: {ctx: {a: 1}, flags: {b: true}}}",
            {"set": {"ctx": {"a": 1}, "flags": {"b": True}}},
        ),
        ("{set: '{{ result }}'}", {"set": "{{ result }}"}),
        ("{set: {ctx: 1}}", {"set": {"ctx": {"ctx": 1}}}),
        ("{set: {ctx: {}, a: 1}}", {"set": {"ctx": {"ctx": {}, "a": 1}}}),
        ("{set: [{name: a, value: [1]}]}", {"set": {"ctx": {"a": [1]}}}),
        (
            "{collect: {from: a.b, into: c}}",
            {"collect": {"from": "a.b", "into": "c", "mode": "append"}},
        ),
        ("{collect: {strategy: collect}}", {"collect": {"strategy": "append"}}),
        (
            "{collect: {path: a, into: b}}",
            {"collect": {"path": "a", "into": "b", "strategy": "append"}},
        ),
        ("{result: 7}", {"result": 7}),
        ("{call: {step: end}}", {"call": {"step": "end"}}),
        ("{call: {url: x, body: 1}}", {"call": {"endpoint": "x", "data": 1}}),
        (
            "{next: [end, {step: start, args: {a: 1}}]}",
            {"next": [{"step": "end"}, {"step": "start", "args": {"a": 1}}]},
        ),
        ("{fail: no}", {"fail": {"message": "no"}}),
        ("{skip: because}", {"skip": {"reason": "because"}}),
        (
            "{sink: {backend: sqlite, database: f, table: t, from: a.b}}",
            {"sink": {"tool": {**FILE, "table": "t", "data": "{{ a.b }}"}}},
        ),
        (
            "{sink: {backend: postgres, auth: shop, table: t, from: [{a: 1}], mode: ignore}}",
            {"sink": {"tool": {**SHOP, "mode": "ignore", "table": "t", "data": [{"a": 1}]}}},
        ),
        (
            "{sink: {backend: lake, table: t, from: '{{ a }}', on_error: ignore}}",
            {"sink": {"tool": {**LAKE, "table": "t", "data": "{{ a }}"}, "on_error": "ignore"}},
        ),
    ],
)
def test_n37_each_way_to_write_an_action(written: str, made: object) -> None:
    assert [made] == actions(written)


@pytest.mark.parametrize(
    "tool, made",
    [
        (
            "{kind: http, url: x, payload: {a: 1}}",
            {"kind": "http", "endpoint": "x", "data": {"a": 1}},
        ),
        ("{kind: sqlite, query: q}", {"kind": "sqlite", "command": "q"}),
        (
            "{kind: playbooks, path: p, with: {a: 1}}",
            {"kind": "playbook", "path": "p", "args": {"a": 1}},
        ),
    ],
)
def test_a_field_of_a_tool_has_one_name(tool: str, made: dict[str, Any]) -> None:
    done = playbook_of(
        {
            "apiVersion": "noetl.io/v2",
            "kind": "Playbook",
            "metadata": {"name": "one"},
            "workflow": [{"step": "start", "tool": read(tool).data}],
        }
    )

    assert made == done.workflow[0].tool.plain()


def test_n50_end_joins_all() -> None:
    done = read_playbook(
        "{apiVersion: noetl.io/v2, kind: Playbook, metadata: {name: a}, workflow: ["
        "{step: start, tool: {kind: noop}}, {step: end, tool: {kind: noop}}]}"
    )

    assert ["each", "all"] == [step.join for step in done.workflow]
