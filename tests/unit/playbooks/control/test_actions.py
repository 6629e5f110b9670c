"""N36-N47: the nine actions: their order, what each does, where they do nothing."""

from itertools import permutations
from typing import Any

import pytest

from flowq.playbooks.control.control import Limits, PlaybookFailed
from flowq.playbooks.control.events import Failure
from flowq.playbooks.control.steps.actions import delay_of
from flowq.playbooks.document.models import Retry
from tests.tools.controls.driving import Answer, Drive, playbook

Actions = list[Any]
OTHERS = [{"step": "other"}, {"step": "more"}]


def after_call(then: Actions, answers: Answer, **step: Any) -> Drive:
    """Run a step whose actions follow each call that has succeeded."""
    case = [{"when": "event.name == 'call.done'", "then": then}]
    return Drive(playbook({"step": "start", "case": case, **step}, *OTHERS), {"start": answers})


# --- set ------------------------------------------------------------------------------------------


def test_set_writes_native_values_deeply() -> None:
    """N42."""
    then = [{"set": {"ctx": {"a": {"b": ["{{ response.n + 1 }}"]}, "text": "n{{ response.n }}"}}}]

    assert {"a": {"b": [3]}, "text": "n2"} == after_call(then, [{"n": 2}]).ctx


def test_flags_stand_below_ctx() -> None:
    """N42."""
    then = [{"set": {"flags": {"a": True}}}, {"set": {"flags": {"b": "{{ ctx.flags.a }}"}}}]

    assert {"flags": {"a": True, "b": True}} == after_call(then, [1]).ctx


def test_ctx_can_be_copied_into_itself() -> None:
    then = [{"set": {"ctx": {"a": 1}}}, {"set": {"ctx": {"copy": "{{ ctx }}"}}}]

    assert {"a": 1, "copy": {"a": 1}} == after_call(then, [1]).ctx


def test_set_takes_all_keys_of_a_mapping() -> None:
    then = [{"set": {"ctx": {"a": 1, "b": 1}}}, {"set": "{{ response }}"}]

    assert {"a": 1, "b": 2, "c": [3]} == after_call(then, [{"b": 2, "c": [3]}]).ctx


def test_set_refuses_what_is_no_mapping() -> None:
    with pytest.raises(PlaybookFailed, match="gives no mapping"):
        after_call([{"set": "{{ response }}"}], [5]).control.outcome()


# --- collect --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, values, collected",
    [
        ("append", [[1], [2, 3]], [[1], [2, 3]]),
        ("extend", [[1], [2, 3]], [1, 2, 3]),
        ("extend", [[1], 2], [1, 2]),
        ("replace", [[1], [2, 3]], [2, 3]),
        ("merge", [{"a": 1, "b": 1}, {"b": 2}], {"a": 1, "b": 2}),
        ("merge", [{"a": 1}, 5], {"a": 1}),
    ],
)
def test_collect_has_four_modes(mode: str, values: list[Any], collected: object) -> None:
    """N41."""
    collect = {"collect": {"from": "response.v", "into": "all", "mode": mode}}
    then = [collect, {"call": {"params": {"page": 2}}}]
    more = {"when": "event.name == 'call.done' and event.page == 1", "then": then}
    last = {"when": "event.name == 'call.done'", "then": [collect]}
    drive = Drive(
        playbook({"step": "start", "case": [more, last]}), {"start": [{"v": v} for v in values]}
    )

    assert {"all": collected} == drive.ctx


@pytest.mark.parametrize(
    "source, collected",
    [
        ("response.data.rows", [1]),
        ("{{ response.data.rows }}", [1]),
        ("response.rows", [1]),
        ("response.data['rows']", [1]),
        ("ctx.before", 7),
        (["{{ response.data.rows[0] }}"], [1]),
    ],
)
def test_collect_takes_a_path_or_a_template(source: object, collected: object) -> None:
    """N41."""
    then = [
        {"set": {"ctx": {"before": 7}}},
        {"collect": {"from": source, "into": "all", "mode": "replace"}},
    ]
    envelope = {"status_code": 200, "data": {"rows": [1]}}

    assert collected == after_call(then, [envelope]).ctx["all"]


@pytest.mark.parametrize("source", ["response.gone", "nowhere", "response.data.rows[5]"])
def test_collect_from_nowhere_collects_nothing(source: str) -> None:
    drive = after_call([{"collect": {"from": source, "into": "all"}}], [{"data": {"rows": []}}])

    assert {} == drive.ctx
    assert "collect.missed" in drive.names()


def test_collect_of_a_path_makes_the_body_of_the_result() -> None:
    """N41, the second form: over pages, with what was collected beside."""
    collect = {"collect": {"path": "rows", "strategy": "append"}}
    then = [collect, {"call": {"params": {"page": 2}}}]
    more = {"when": "event.name == 'call.done' and response.more", "then": then}
    last = {"when": "event.name == 'call.done'", "then": [collect]}
    pages: list[object] = [
        {"status_code": 200, "data": {"rows": [1, 2], "more": True}},
        {"status_code": 201, "data": {"rows": [3], "more": False}},
    ]
    drive = Drive(playbook({"step": "start", "case": [more, last]}), {"start": pages})

    assert {
        "status_code": 201,
        "data": [1, 2, 3],
        "_pagination": {"pages_collected": 2, "all_items": [[1, 2], [3]]},
        "_all_collected_items": [1, 2, 3],
    } == drive.result


# --- result ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, result",
    [
        ({"from": "response.a"}, 1),
        ({"from": "{{ response.a + 1 }}"}, 2),
        ({"from": "response.gone"}, None),
        ({"total": "{{ response.a }}"}, {"total": 1}),
        ("text", "text"),
    ],
)
def test_result_is_a_path_a_template_or_data(given: object, result: object) -> None:
    """N43."""
    assert result == after_call([{"result": given}], [{"a": 1}]).result


# --- call, retry ----------------------------------------------------------------------------------


def test_page_merges_into_the_original_call() -> None:
    """N38, N40: each page begins from the document's fields, not from those of the page before."""
    tool = {"kind": "http", "url": "a", "params": {"p": 1, "size": 9}, "body": {"a": 1}}
    case = [
        {
            "when": "event.name == 'call.done' and event.page == 1",
            "then": [{"call": {"params": {"p": 2, "extra": 1}, "payload": {"b": 2}}}],
        },
        {
            "when": "event.name == 'call.done' and event.page == 2",
            "then": [{"retry": {"params": {"p": 3}, "endpoint": "b"}}],
        },
    ]
    drive = Drive(playbook({"step": "start", "tool": tool, "case": case}))

    assert [
        {"kind": "http", "endpoint": "a", "params": {"p": 1, "size": 9}, "data": {"a": 1}},
        {
            "kind": "http",
            "endpoint": "a",
            "params": {"p": 2, "size": 9, "extra": 1},
            "data": {"a": 1, "b": 2},
        },
        {"kind": "http", "endpoint": "b", "params": {"p": 3, "size": 9}, "data": {"a": 1}},
    ] == [one.tool.plain() for one in drive.commands]


@pytest.mark.parametrize(
    "action, pages",
    [({"call": {"params": {}}}, 4), ({"retry": {"params": {}, "max_attempts": 2}}, 2)],
)
def test_pages_end_at_their_limit(action: dict[str, Any], pages: int) -> None:
    """N40: then the step ends with what it has."""
    case = [{"when": "response is defined", "then": [action]}]
    drive = Drive(playbook({"step": "start", "case": case}), {"start": [7]}, limits=Limits(pages=4))

    assert (pages, 7) == (len(drive.commands), drive.result)
    assert 1 == drive.names().count("pagination.capped")


def test_pages_and_attempts_are_counted_apart() -> None:
    """N40: a page that succeeds resets the attempts."""
    broken = Failure("no", status=503)
    case = [
        {"when": "error is defined", "then": [{"retry": {"max_attempts": 2}}]},
        {
            "when": "event.name == 'call.done' and event.page < 3",
            "then": [{"call": {"params": {}}}],
        },
    ]
    drive = Drive(
        playbook({"step": "start", "case": case}), {"start": [broken, 1, broken, 2, broken, 3]}
    )

    numbers = [(one.page, one.attempt) for one in drive.commands]
    assert [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)] == numbers
    assert 3 == drive.result


def test_retry_after_a_success_asks_again() -> None:
    case = [{"when": "response == 'wait'", "then": [{"retry": {"max_attempts": 5}}]}]
    drive = Drive(playbook({"step": "start", "case": case}), {"start": ["wait", "wait", "ready"]})

    assert ([1, 2, 3], "ready") == ([one.attempt for one in drive.commands], drive.result)


@pytest.mark.parametrize(
    "retry, delays",
    [
        (Retry(), [0.5, 1.0, 2.0]),
        (Retry(initial_delay=1, backoff_multiplier=3, max_delay=5), [1, 3, 5]),
        (Retry(initial_delay=2, backoff="linear"), [2, 4, 6]),
    ],
)
def test_delays_grow(retry: Retry, delays: list[float]) -> None:
    """N39."""
    assert delays == [delay_of(retry, attempt) for attempt in (1, 2, 3)]


def test_delay_is_never_longer_than_a_year() -> None:
    assert 366 * 86_400 == delay_of(Retry(backoff_multiplier=10), 5_000)


def test_call_of_a_step_begins_a_branch() -> None:
    """N38: it is no transition, so the structural ones follow too."""
    then = [{"call": {"step": "other", "args": {"a": "{{ response }}"}}}]
    drive = after_call(then, [3], next=[{"step": "more"}])

    assert ["start", "other", "more"] == drive.steps()
    assert {"a": 3} == drive.commands[1].args


# --- sink -----------------------------------------------------------------------------------------


def sinking(on_error: str, answer: object) -> Drive:
    tool = {"kind": "sqlite", "command": "INSERT", "params": ["{{ response }}"]}
    sink = {"tool": tool, "args": {"n": "{{ response }}"}, "on_error": on_error}
    case = [{"when": "response is defined", "then": [{"sink": sink}]}]
    book = playbook({"step": "start", "case": case, "next": [{"step": "other"}]}, *OTHERS)
    return Drive(book, {"start": [5], "start_sink": [answer]})


def test_sink_is_a_branch_beside_the_structural_next() -> None:
    """N45."""
    drive = sinking("fail", None)

    assert ["start", "start_sink", "other"] == drive.steps()
    stored = drive.commands[1]
    assert ("sqlite", [5], {"n": 5}) == (
        stored.tool.kind,
        stored.tool.config["params"],
        stored.args,
    )
    assert ["sink.started", "sink.completed"] == [n for n in drive.names() if n.startswith("sink")]
    assert "other" == drive.control.outcome().final_step


def test_failed_sink_fails_the_execution_unless_it_is_ignored() -> None:
    """N45."""
    with pytest.raises(PlaybookFailed, match="'start_sink' failed"):
        sinking("fail", Failure("full")).control.outcome()
    assert "other" == sinking("ignore", Failure("full")).control.outcome().final_step


def test_step_sinks_what_it_has_made() -> None:
    """N45, at the step."""
    sink = {"tool": {"kind": "noop"}, "args": {"rows": "{{ result }}"}}
    drive = Drive(playbook({"step": "start", "sink": sink, "result": {"a": "{{ response }}"}}))

    assert {"rows": {"a": None}} == drive.commands[1].args


# --- next, fail, skip -----------------------------------------------------------------------------


def test_next_of_an_action_replaces_the_structural_one() -> None:
    """N44, N48."""
    then = [{"next": [{"step": "other", "args": {"a": "{{ response }}"}}, {"step": "more"}]}]
    drive = after_call(then, [1], next=[{"step": "nowhere"}])

    assert ["start", "other", "more"] == drive.steps()
    assert [{"a": 1}, {}] == [one.args for one in drive.commands[1:]]


def test_arguments_of_a_transition_go_over_those_of_the_step() -> None:
    """N44: its own are rendered when it begins."""
    book = playbook(
        {"step": "start", "next": [{"step": "b", "args": {"x": "{{ result }}"}}]},
        {"step": "b", "args": {"x": 0, "y": "{{ start + args.x }}"}},
    )

    assert {"x": 4, "y": 8} == Drive(book, {"start": [4]}).commands[1].args


def test_fail_ends_the_branch_only() -> None:
    """N46."""
    drive = after_call([{"fail": {"message": "no {{ response }}"}}], [1], next=[{"step": "other"}])

    assert (["start"], "completed") == (drive.steps(), drive.control.state.workflow_status)
    exits = [one.payload for one in drive.decisions if one.name == "step.exit"]
    assert ["failed"] == [one["status"] for one in exits]
    assert "no 1" == exits[0]["error"]["message"]


def test_fail_can_fail_the_workflow() -> None:
    """N46."""
    drive = after_call([{"fail": {"message": "no", "fail_workflow": True}}], [1])

    with pytest.raises(PlaybookFailed, match="no"):
        drive.control.outcome()


def test_skip_makes_no_call() -> None:
    """N47: and the structural next follows."""
    case = [{"when": "event.name == 'step.enter'", "then": [{"skip": {"reason": "old"}}]}]
    drive = Drive(playbook({"step": "start", "case": case, "next": [{"step": "other"}]}, *OTHERS))

    assert ["other"] == drive.steps()


def test_actions_that_make_no_sense_are_ignored_and_told() -> None:
    case = [
        {"when": "event.name == 'step.enter'", "then": [{"call": {"params": {}}}]},
        {"when": "event.name == 'call.done'", "then": [{"skip": {}}]},
        {"when": "event.name == 'step.exit'", "then": [{"retry": {}}]},
    ]
    drive = Drive(playbook({"step": "start", "case": case}))

    ignored = [one.payload["action"] for one in drive.decisions if one.name == "action.ignored"]
    assert (["start"], ["call", "skip", "retry"]) == (drive.steps(), ignored)


def test_retry_at_the_end_of_a_step_handles_no_failure() -> None:
    case = [{"when": "event.name == 'step.exit' and error is defined", "then": [{"retry": {}}]}]
    drive = Drive(playbook({"step": "start", "case": case}), {"start": [Failure("no")]})

    assert "failed" == drive.control.state.workflow_status


PAIRS: dict[str, Any] = {
    "set": {"ctx": {"set": 1}},
    "collect": {"from": "response", "into": "collected"},
    "result": "given",
    "sink": {"tool": {"kind": "noop"}},
    "next": [{"step": "other"}],
    "fail": {"message": "failed"},
}


@pytest.mark.parametrize("first, second", list(permutations(PAIRS, 2)))
def test_every_action_of_an_entry_runs(first: str, second: str) -> None:
    """N36, N37: none displaces another."""
    drive = after_call([{name: PAIRS[name]} for name in (first, second)], [1])
    (exit_,) = (one for one in drive.decisions if (one.name, one.step) == ("step.exit", "start"))
    seen = {
        "set": drive.ctx.get("set") == 1,
        "collect": drive.ctx.get("collected") == [1],
        "result": exit_.payload["result"] == "given",
        "sink": "start_sink" in drive.steps(),
        "next": "other" in drive.steps(),
        "fail": exit_.payload["status"] == "failed",
    }
    expected = {name: name in (first, second) for name in PAIRS}
    if expected["fail"]:
        expected["result"] = False  # a failed step has none
    assert expected == seen


def test_action_that_cannot_be_rendered_fails_the_step() -> None:
    then = [{"set": {"ctx": {"a": 1}}}, {"set": {"ctx": {"b": "{{ nowhere }}"}}}]

    with pytest.raises(PlaybookFailed, match="set of 'start': 'nowhere' is undefined"):
        after_call(then, [1]).control.outcome()
