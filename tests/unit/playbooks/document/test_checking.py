"""Checking finds every problem at once, with its place and what to do (rows N1 to N10)."""

import textwrap

import pytest

from flowq.playbooks import InvalidPlaybook, Playbook, read_playbook
from flowq.playbooks.parser import load

NOOP = "- {step: start, tool: {kind: noop}}"
ONE = f"workflow:\n  {NOOP}\n"
HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: one}\n"


def workflow(steps: str, head: str = HEAD) -> str:
    """Return a document with the steps of a workflow."""
    return f"{head}workflow:\n{textwrap.indent(textwrap.dedent(steps).strip(), '  ')}\n"


def step(text: str) -> str:
    """Return a document with one step `start`, which has more keys."""
    keys = textwrap.indent(textwrap.dedent(text).strip(), "  ")
    return workflow(f"- step: start\n{keys}\n")


def noop(text: str) -> str:
    """Return a document with one step that does nothing and has more keys."""
    return step(f"tool: {{kind: noop}}\n{textwrap.dedent(text).strip()}")


def then(text: str) -> str:
    """Return a document with one entry of `case`."""
    return noop(f"case: [{{when: a, then: {text}}}]")


def problems(source: str) -> list[str]:
    """Return the problems of a document that is refused."""
    with pytest.raises(InvalidPlaybook) as refused:
        read_playbook(source)
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize(
    "source, said",
    [
        # N1, N2 what the document is
        (
            workflow(NOOP, "kind: Playbook\nmetadata: {name: a}\n"),
            "1:1: 'apiVersion' is missing; write 'apiVersion: noetl.io/v2'",
        ),
        (
            workflow(NOOP, HEAD.replace("v2", "v1")),
            "1:13: apiVersion: must be 'noetl.io/v2'; found the text 'noetl.io/v1'",
        ),
        (
            workflow(NOOP, HEAD.replace("Playbook", "Flow")),
            "2:7: kind: must be 'Playbook'; found the text 'Flow'",
        ),
        ("[1]", "1:1: a playbook is a mapping; found a list"),
        # N3 metadata
        (
            workflow(NOOP, HEAD.replace("name: one", "path: a")),
            "3:11: metadata: Metadata must include 'name'",
        ),
        (
            workflow(NOOP, HEAD.replace("one", "a, path: ../b")),
            "3:27: metadata.path: must not begin with '/' nor hold '..'",
        ),
        (
            workflow(NOOP, HEAD.replace("name: one", "name: 7")),
            "3:18: metadata.name: must be a text that is not empty; found the number 7",
        ),
        # N4 workload
        (
            HEAD + "workload: [1]\n" + ONE,
            "4:11: workload: must be a mapping; found a list",
        ),
        # N5 workbook
        (
            HEAD + "workbook: [{name: t}]\n" + ONE,
            "4:12: workbook[0]: 'tool' is missing",
        ),
        (
            HEAD + "workbook: [{name: t, tool: {kind: noop}, assert: {expect: []}}]\n"
            "workflow: [{step: start, tool: {kind: noop}}]",
            "4:51: workbook[0].assert: unknown key 'expect'; did you mean 'expects'?",
        ),
        (
            step("tool: {kind: workbook, task: nope}"),
            "6:34: workflow[0].tool.task: the workbook has no task 'nope'",
        ),
        # N6 keychain
        (
            HEAD + "keychain: [{name: k, kind: a, token: x}]\n" + ONE,
            "4:31: keychain[0]: unknown key 'token'; a credential is defined by the operator",
        ),
        # N7 workflow
        (HEAD, "1:1: 'workflow' is missing: a list of steps"),
        (HEAD + "workflow: []", "4:11: workflow: Workflow cannot be empty; write"),
        (
            workflow("- {step: first, tool: {kind: noop}}"),
            "5:3: workflow: Workflow must have a step named 'start'",
        ),
        (
            workflow("- {step: start, tool: {kind: noop}}\n- {step: start, tool: {kind: noop}}"),
            "6:12: workflow[1].step: the name 'start' is taken by workflow[0]; names are unique",
        ),
        (
            workflow(f"{NOOP}\n- {{step: 'a#b', tool: {{kind: noop}}}}"),
            "6:12: workflow[1].step: must not hold '#'",
        ),
        (
            workflow(
                f"- {{step: start, tool: {{kind: noop}}, next: {'x' * 81}}}\n"
                f"- {{step: {'x' * 81}, tool: {{kind: noop}}}}"
            ),
            "6:12: workflow[1].step: has 81 characters; the limit is 80",
        ),
        (
            workflow("- {step: start, tool: {kind: noop}}\n- just text"),
            "6:5: workflow[1]: must be a mapping; found the text 'just text'",
        ),
        # N8 keys of a step
        (
            noop("joins: all"),
            "7:5: workflow[0] (step 'start'): unknown key 'joins'; did you mean 'join'?",
        ),
        (
            noop("join: some"),
            "7:11: workflow[0].join: must be 'each' or 'all'; found the text 'some'",
        ),
        (
            noop("timeout: 0"),
            "7:14: workflow[0].timeout: must be a number from 0.001 to 31,536,000; found",
        ),
        (noop("args: [1]"), "7:11: workflow[0].args: must be a mapping; found a list"),
        (noop("args: {a: '{{ b'}"), "7:15: workflow[0].args.a: unexpected end of template"),
        (noop("args: {a: '{% if b %}c{% endif %}'}"), "7:15: workflow[0].args.a: "),
        # N9 refused forms
        (
            noop("type: http"),
            "7:5: workflow[0] (step 'start'): 'type' field is not allowed in v2; write",
        ),
        (noop("when: x"), "7:5: workflow[0] (step 'start'): 'when' is not allowed at a step in v2"),
        (step("desc: x"), "5:5: workflow[0] (step 'start'): 'tool' is missing"),
        (
            step("tool: {}"),
            "6:11: workflow[0].tool: must have 'kind' field; known are http, postgres",
        ),
        (
            step("tool: http"),
            "6:11: workflow[0].tool: must be a mapping with 'kind'; found the text 'http'",
        ),
        (
            step("tool: {kind: htpp}"),
            "6:18: workflow[0].tool.kind: unknown kind of the text 'htpp'; known are http",
        ),
        (
            step("tool: {kind: gcs}"),
            "6:18: workflow[0].tool.kind: the kind 'gcs' is known and not provided; write",
        ),
        (step("tool: {kind: http}"), "6:11: workflow[0].tool: 'endpoint' or 'url' is missing"),
        (
            noop("next: [{when: a, then: end}]"),
            "7:13: workflow[0].next[0]: Conditional 'next' with when/then/else is not allowed",
        ),
        (
            noop("next: {when: a, then: end}"),
            "7:12: workflow[0].next: Conditional 'next' with when/then/else is not allowed",
        ),
        (
            noop("next: [{step: end, with: {}}]"),
            "7:24: workflow[0].next[0]: v2 passes data with 'args', not 'with'",
        ),
        (noop("next: []"), "7:11: workflow[0].next: is empty; name a step"),
        (
            noop("next: 7"),
            "7:11: workflow[0].next: must be a step's name, a list of names, or a list of {step",
        ),
        (
            noop("case: {when: a}"),
            "7:11: workflow[0].case: must be a list; found a mapping with the key",
        ),
        (noop("case: [{then: {skip: {}}}]"), "7:12: workflow[0].case[0]: 'when' is missing"),
        (noop("case: [{when: a}]"), "7:12: workflow[0].case[0]: 'then' is missing"),
        (
            noop("case: [{when: '', then: {skip: {}}}]"),
            "7:19: workflow[0].case[0].when: must be a condition; found an empty text",
        ),
        (
            noop("case: [{when: '{{ a b }}', then: {skip: {}}}]"),
            "7:19: workflow[0].case[0].when: unexpected 'b' after the expression",
        ),
        (then("{}"), "7:28: workflow[0].case[0].then: is empty; write at least one action"),
        (then("[]"), "7:28: workflow[0].case[0].then: is empty; write at least one action"),
        (
            then("[{skip: {}, fail: x}]"),
            "7:29: workflow[0].case[0].then[0]: a list of actions has one action in each element",
        ),
        (then("{goto: end}"), "7:29: workflow[0].case[0].then: unknown key 'goto'; known are set"),
        (
            then("{retry: {}, next: end}"),
            "7:28: workflow[0].case[0].then: 'retry' repeats this step and 'next' leaves it",
        ),
        (
            then("{call: {params: {}}, next: end}"),
            "7:28: workflow[0].case[0].then: 'call' repeats this step and 'next' leaves it",
        ),
        (
            then("{call: {params: {}}, retry: {}}"),
            "7:28: workflow[0].case[0].then: 'call' and 'retry' both repeat this step",
        ),
        (
            noop("""case: [{when: "event.name == 'step.enter'", then: {retry: {}}}]"""),
            "7:55: workflow[0].case[0].then: 'retry' makes no sense before a call",
        ),
        (
            then("{collect: {from: '{{ a b }}', into: c}}"),
            "7:45: workflow[0].case[0].then.collect.from: expected token",
        ),
        (
            then("{collect: {from: a.b}}"),
            "7:38: workflow[0].case[0].then.collect: 'into' is missing: the name in ctx",
        ),
        (
            then("{retry: {params: {}, delay: 1}}"),
            "7:36: workflow[0].case[0].then.retry: asks for another page, which has no delay",
        ),
        (
            then("{retry: {max_attempts: 0}}"),
            "7:51: workflow[0].case[0].then.retry.max_attempts: must be",
        ),
        (
            then("{sink: {backend: b, from: c}}"),
            "7:35: workflow[0].case[0].then.sink: 'table' is missing",
        ),
        (
            then("{sink: {args: {}}}"),
            "7:35: workflow[0].case[0].then.sink: 'tool' or 'backend' is missing",
        ),
        # N10 references
        (noop("next: nowhere"), "7:11: workflow[0].next: references non-existent step 'nowhere'"),
        (
            noop("next: [strat]"),
            "7:12: workflow[0].next[0]: references non-existent step 'strat'; did you mean",
        ),
        (
            then("{next: [{step: gone}]}"),
            "7:43: workflow[0].case[0].then.next[0].step: references non-existent step 'gone'",
        ),
        (
            then("{call: {step: gone}}"),
            "7:42: workflow[0].case[0].then.call.step: references non-existent step 'gone'",
        ),
        (
            workflow(f"{NOOP}\n- {{step: end, tool: {{kind: noop}}, next: start}}"),
            "6:37: workflow[1] (step 'end'): the step 'end' is the last one; delete its 'next'",
        ),
        # N17 code
        (
            step("tool: {kind: python, code: 'def main(:'}"),
            "6:32: workflow[0].tool.code: invalid syntax in line 1 of the code",
        ),
        (
            step("tool: {kind: python, code_b64: '???'}"),
            "6:36: workflow[0].tool.code_b64: is no text in Base64",
        ),
        # N23 iterator
        (
            step("tool: {kind: iterator}"),
            "6:18: workflow[0].tool.kind: the kind 'iterator' is known",
        ),
        # N25 loops
        (
            noop("loop: {iterator: x}"),
            "7:11: workflow[0].loop: 'in' is missing: a list, or a template",
        ),
        (noop("loop: {in: [1]}"), "7:11: workflow[0].loop: 'iterator' is missing"),
        (
            noop("loop: {in: [1], iterator: a-b}"),
            "7:31: workflow[0].loop.iterator: must be a name of letters, digits and '_'; found",
        ),
        (
            noop("loop: {in: [1], iterator: x, max_concurrency: 1001}"),
            "7:51: workflow[0].loop.max_concurrency: must be a whole number from 1 to 1,000; found",
        ),
        (noop("loop: {in: [1], iterator: x, mode: fast}"), "7:40: workflow[0].loop.mode: must be"),
    ],
    ids=lambda value: value.splitlines()[-1][-40:],
)
def test_n1_to_n10_what_is_wrong_is_said(source: str, said: str) -> None:
    found = problems(source)

    assert 1 == len(found), found
    assert found[0].startswith(said), found[0]


@pytest.mark.parametrize(
    "source",
    [
        noop("next: end"),
        noop("next: [end, start]"),
        noop("next: {step: end, args: {a: '{{ b }}'}}"),
        then("{set: {a: 1}, collect: {from: a.b, into: c}, next: end}"),
        then("{call: {step: start}, next: end}"),
        then("{retry: true}"),
        then("{retry: 4}"),
        then("{skip: , fail: no}"),
        then("[{set: [{name: a, value: 1}]}, {set: {ctx: {}, flags: {}}}]"),
        step("tool: {kind: python, code: 'return 1'}"),
        step("tool: {kind: http, url: '{% if a %}b{% endif %}'}"),
        step("tool: {kind: postgres, auth: shop, table: t, data: '{{ rows }}'}"),
        noop("loop: {in: '{{ workload.all }}', iterator: city, mode: async}"),
        noop("retry: {max_attempts: 2, jitter: 0.1}"),
        HEAD + "keychain: [{name: k, kind: postgres}]\n" + ONE,
    ],
    ids=lambda source: source.splitlines()[-1][-40:],
)
def test_n1_to_n10_what_is_right_is_read(source: str) -> None:
    read = read_playbook(source)

    assert read == Playbook.of(read.to_dict())
    assert read == read_playbook(read.to_yaml())


def test_all_problems_of_many_steps_are_reported_in_order() -> None:
    steps = "\n".join(f"- {{step: s{at}, next: n{at}}}" for at in range(60))

    found = problems(workflow(steps))

    assert 60 * 2 + 1 == len(found)
    lines = [int(problem.partition(":")[0]) for problem in found]
    assert sorted(lines) == lines


def test_n8_unknown_keys_are_warnings_in_compat() -> None:
    done = load(noop("colour: blue"), compat=True)

    assert ["7:5: workflow[0] (step 'start'): unknown key 'colour'"] == [
        str(one).partition(";")[0] for one in done.warnings
    ]
    assert read_playbook(noop("desc: a")).step("start") != done.playbook.step("start")


def test_a_step_that_nothing_reaches_and_names_that_are_taken_are_warnings() -> None:
    source = workflow("""
        - {step: start, tool: {kind: noop}, next: ctx}
        - {step: ctx, tool: {kind: noop}, loop: {in: [1], iterator: event}}
        - {step: island, tool: {kind: noop}, next: island}
        - {step: end, tool: {kind: noop}}
    """)

    assert [
        "6:12: workflow[1].step: templates mean something else by 'ctx'",
        "6:63: workflow[1].loop.iterator: hides what templates call 'event' elsewhere",
        "7:5: workflow[2] (step 'island'): no step leads here; it never runs",
    ] == [str(one).partition("; its")[0] for one in load(source).warnings]
