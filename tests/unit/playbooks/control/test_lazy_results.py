"""Whether results are plain, loaded or not changes what commands carry, never what it stands for.

Random documents pass results on in every way. Each is driven with plain results, with results that
are in memory and with results that are loaded when they are asked for. The commands are the same
once references are resolved, and what they copy of results is bounded.
"""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowq.core.references import Concat, Reference
from flowq.playbooks.control.commands import Command, Deferred, plain
from flowq.playbooks.control.control import Limits
from flowq.playbooks.control.events import Failure
from flowq.playbooks.control.steps.results import MapResult
from flowq.playbooks.document.models import Playbook
from tests.tools.controls.driving import Drive, playbook

STEPS = ["start", "a", "b", "end"]
TEMPLATES = [
    "{{ response }}",
    "{{ result }}",
    "{{ response.rows }}",
    "{{ response.data }}",
    "{{ response.data.rows }}",
    "{{ response.rows[0] }}",
    "{{ response.rows[0].text }}",
    "{{ response.rows | length }}",
    "{{ response.rows | first }}",
    "{{ response.rows is defined }}",
    "{{ response == start }}",
    "{{ [response.rows, 1] }}",
    "{{ [response.rows] | first | length }}",
    "{{ {'a': response} }}",
    "x {{ response }}",
    "{{ start }}",
    "{{ start.rows }}",
    "{{ start.results }}",
    "{{ a.rows.data }}",
    "{{ ctx }}",
    "{{ ctx | tojson }}",
    "{{ ctx.all }}",
    "{{ ctx.all[0] }}",
    "{{ ctx.all[0].rows }}",
    "{{ ctx.all | default([]) | map('string') | list }}",
    "{{ ctx.kept.rows }}",
    "{{ ctx.kept.data }}",
    "{{ ctx == {'kept': start} }}",
    "{{ args }}",
    "{{ args.x }}",
    "{{ args == {'x': start} }}",
    "{{ x[0] }}",
    "{{ n }}",
    "{{ n.text }}",
    "{{ n.data }}",
    "{{ loop_results }}",
    "{{ loop_results.results }}",
    "{{ loop_results.results[0] }}",
    "{{ loop_results.results[0].rows }}",
    "{{ loop_results.results | map(attribute='rows') | list }}",
    "{{ event.payload.response }}",
    "{{ event.collected }}",
    "{% if response %}{{ response.rows }}{% endif %}",
    "{{ secret.a }}{{ ctx.kept }}",
]
templates = st.sampled_from(TEMPLATES)
args = st.dictionaries(st.sampled_from(["x", "y"]), templates, max_size=2)
actions = st.one_of(
    st.builds(lambda one: {"set": {"ctx": {"kept": one}}}, templates),
    st.builds(
        lambda source, mode: {"collect": {"from": source, "into": "all", "mode": mode}},
        st.sampled_from(["response", "response.rows", "response.data", "n", "ctx.kept"]),
        st.sampled_from(["append", "extend", "merge", "replace"]),
    ),
    st.sampled_from(
        [{"collect": {"path": "rows"}}, {"collect": {"path": "rows", "mode": "append"}}]
    ),
    st.builds(lambda one: {"result": {"from": one}}, st.sampled_from(["response.rows", "ctx.all"])),
    st.builds(lambda one: {"result": one}, templates),
    st.builds(lambda one: {"call": {"params": {"p": one}}}, templates),
    st.builds(lambda one: {"call": {"params": one}}, templates),
    st.builds(lambda one: {"sink": {"tool": {"kind": "noop", "value": one}}}, templates),
)
cases = st.lists(
    st.builds(
        lambda when, then: {"when": when, "then": then},
        st.sampled_from(
            [
                "event.name == 'call.done' and event.page < 3",
                "response.rows | length > 1",
                "event.name == 'loop.done'",
                "event.name == 'step.exit'",
                "error is defined",
            ]
        ),
        st.lists(actions, min_size=1, max_size=3),
    ),
    max_size=2,
)
loops = st.none() | st.builds(
    lambda items, mode, on_error: {
        "in": items,
        "iterator": "n",
        "mode": mode,
        "on_error": on_error,
    },
    st.sampled_from(
        ["{{ start.rows }}", "{{ ctx.all }}", "{{ ctx.kept }}", "{{ args.x }}", "{{ [start, 1] }}"]
    ),
    st.sampled_from(["sequential", "parallel"]),
    st.sampled_from(["fail", "collect"]),
)
rows = st.lists(
    st.builds(
        lambda size, data: {"text": "t" * size, **({"data": [size]} if data else {})},
        st.sampled_from([1, 150, 2000]),
        st.booleans(),
    ),
    max_size=3,
)
bodies = st.builds(lambda found, size: {"rows": found, "text": "b" * size}, rows, st.just(1))
values = st.one_of(
    bodies,
    bodies.map(lambda body: {"status_code": 200, "status": 200, "data": body}),
    rows,
    st.sampled_from([None, 5, "short", "long" * 500]),
)


@st.composite
def playbooks(draw: st.DrawFn) -> Playbook:
    """Documents that pass results on."""
    steps: list[dict[str, Any]] = []
    for name, following in zip(STEPS, [*STEPS[1:], None], strict=True):
        step: dict[str, Any] = {"step": name, "case": draw(cases), "args": draw(args)}
        step["tool"] = {"kind": "noop", "params": {"q": draw(templates)}}
        step["vars"] = draw(st.just({}) | st.builds(lambda one: {"kept": one}, templates))
        if name != "start":
            step["loop"] = draw(loops)
        if following:
            step["next"] = [{"step": following, "args": draw(args)}]
        steps.append({key: value for key, value in step.items() if value})
    return playbook(*steps)


class Result:
    """A result of the engine."""

    path: tuple[str | int, ...] = ()

    def __init__(self, key: str, value: Any, *, is_loaded: bool) -> None:
        self.key = key
        self.value = value
        self.is_loaded = is_loaded

    def load(self) -> Any:
        return self.value


class Answers:
    """Answers commands with the same values in one of three forms."""

    def __init__(self, found: list[Any], form: str) -> None:
        self._found = found
        self._form = form
        self.results: dict[str, Any] = {}

    def __call__(self, command: Command) -> object:
        key = f"{command.step}#{command.id}"
        fails = Failure("no", status=503)
        if command.work == "map":
            count = len(command.items or ())
            value = [self._found[(command.id + at) % len(self._found)] for at in range(count)]
            failed = {at: fails for at in range(1, count, 2) if command.on_error == "collect"}
            if self._form == "plain":
                return [failed.get(at, one) for at, one in enumerate(value)]
            self.results[key] = value
            return MapResult(Result(key, value, is_loaded=self._form == "loaded"), failed)
        if command.id % 7 == 0:
            return fails
        value = self._found[command.id % len(self._found)]
        if self._form == "plain":
            return value
        self.results[key] = value
        return Result(key, value, is_loaded=self._form == "loaded")

    def resolved(self, value: Any) -> Any:
        """Return what a worker gets of what a command carries."""
        if isinstance(value, Reference):
            found = self.results[value.step]
            for name in value.path:
                found = found[name]
            return found
        if isinstance(value, Concat):
            return [one for part in value.parts for one in self.resolved(part)]
        if isinstance(value, Deferred):
            return [value.template, self.resolved(value.names)]
        if isinstance(value, Mapping):
            return {key: self.resolved(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolved(one) for one in value]
        return value

    def seen(self, drive: Drive) -> list[Any]:
        """Return what workers get of all commands, and how the execution ended."""
        made = [
            [one.id, one.step, one.work, self.resolved([one.tool.config, one.args, one.items])]
            for one in drive.commands
        ]
        state = drive.control.state
        status, final, error = state.workflow_status, state.final_step, state.error
        result = self.resolved(drive.result) if status == "completed" else str(error)
        return [*made, [status, final, result]]


def driven(book: Playbook, found: list[Any], form: str) -> tuple[Answers, Drive]:
    answers = Answers(found, form)
    known = dict.fromkeys([*STEPS, *(f"{name}_sink" for name in STEPS)], answers)
    return answers, Drive(book, known, limits=Limits(pages=4, calls=60))


@given(playbooks(), st.lists(values, min_size=1, max_size=4))
@settings(max_examples=120, deadline=None)
def test_form_of_results_changes_nothing_but_their_names(book: Playbook, found: list[Any]) -> None:
    wanted = None
    for form in ("plain", "loaded", "late"):
        answers, drive = driven(book, found, form)
        seen = json.loads(json.dumps(answers.seen(drive)))
        if wanted is None:
            wanted = seen
        assert wanted == seen


@given(st.integers(1, 300), st.integers(1, 3000), st.sampled_from(["append", "extend"]))
@settings(max_examples=50, deadline=None)
def test_what_a_command_copies_of_results_is_bounded(pages: int, size: int, mode: str) -> None:
    """Short results are copied as long as they are few; then all are named."""
    collect = {"collect": {"from": "response.rows", "into": "all", "mode": mode}}
    when = f"event.name == 'call.done' and event.page < {pages}"
    case = [{"when": when, "then": [collect, {"call": {"params": {}}}]}]
    case += [{"when": "event.name == 'call.done'", "then": [collect]}]
    book = playbook(
        {"step": "start", "case": case, "next": [{"step": "b", "args": {"v": "{{ all }}"}}]},
        {"step": "b"},
    )
    value = {"rows": ["x" * size]}

    def page(command: Command) -> Result:
        return Result(f"p{command.page}", value, is_loaded=True)

    drive = Drive(book, {"start": page}, limits=Limits(pages=300, calls=1000))
    carried = drive.commands[-1].args["v"]
    copied = len(json.dumps(plain(carried))) - 60 * pages
    assert copied < 20 * 1024
    if size * pages < 10 * 1024 and size < 1000:
        assert [value["rows"][0]] * pages == carried or [value["rows"]] * pages == carried
