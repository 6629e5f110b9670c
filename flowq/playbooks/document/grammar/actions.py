"""The actions of an entry of `case`, and the entry itself, as forms: a part of `documents`."""

from typing import Any, Final

from flowq.core.text.json_values import JsonPath
from flowq.playbooks.document.actions import ORDER
from flowq.playbooks.document.grammar.shapes import (
    Anything,
    Choice,
    Condition,
    Either,
    Fields,
    Flag,
    Form,
    Key,
    ListOf,
    Number,
    Shape,
    Template,
    Text,
)
from flowq.playbooks.document.grammar.tools import (
    INSERTION,
    INSERTION_TEXT,
    YEAR,
    ToolShape,
)
from flowq.playbooks.document.report import Report

ANY: Final = Anything()
_PAGE: Final = Anything(blocks=True)
ARGS: Final = Fields()
ATTEMPTS: Final = Number(1, 10_000, whole=True)
SECONDS: Final = Number(0, YEAR)
FACTOR: Final = Number(1, 100)
_CONDITIONAL: Final = (
    "Conditional 'next' with when/then/else is not allowed in v2; write the condition as a 'case'"
)

TRANSITION: Final = Form(
    "Transition",
    "A step that follows.",
    (
        Key(
            "step", Text(), "Its name.", missing="'step' is missing: the name of the step to go to"
        ),
        Key("args", ARGS, "Arguments, merged over those of the step."),
    ),
    refused={
        "with": "v2 passes data with 'args', not 'with'",
        **dict.fromkeys(("when", "then", "else"), _CONDITIONAL),
    },
)


class _Target(Form):
    """A transition as an element, or as a whole `next`: only a mapping that can be meant as one."""

    def fits(self, value: Any) -> bool:
        meant = ("step", *self.refused)
        return isinstance(value, dict) and any(key in value for key in meant)


_TARGET: Final = _Target(TRANSITION.name, TRANSITION.text, TRANSITION.keys, TRANSITION.refused)
_TO: Final = "a step's name, a list of names, or a list of {step, args}"
NEXT: Final = Either(
    (
        Text(),
        ListOf(
            Either((Text(), _TARGET), "a step's name, or {step, args}"), "is empty; name a step"
        ),
        _TARGET,
    ),
    _TO,
)

RETRY_KEYS: Final = (
    Key("max_attempts", ATTEMPTS, "Attempts in all, the first included.", "3"),
    Key("initial_delay", SECONDS, "Seconds before the second attempt.", "0.5"),
    Key("delay", SECONDS, "The same as `initial_delay`."),
    Key("backoff_multiplier", FACTOR, "By what each further delay is multiplied.", "2"),
    Key("max_delay", SECONDS, "The longest delay in seconds."),
    Key("backoff", Choice(("exponential", "linear")), "How delays grow.", "exponential"),
)
_PAGE_KEYS: Final = tuple(
    Key(name, _PAGE, "Ask for another page: merged into the original call.")
    for name in ("params", "url", "endpoint", "method", "headers", "body", "data", "payload")
)
SINK: Final = Form(
    "Sink",
    "Stores something by another tool, beside everything else.",
    (
        Key("tool", ToolShape(), "The tool that stores."),
        Key("args", ARGS, "Its arguments."),
        Key(
            "backend",
            Text(),
            "In place of `tool`: the credential of a database; or with `auth` or `database`, "
            "the kind of database: postgres, sqlite or duckdb.",
        ),
        Key("auth", Template(blocks=True), "With `backend`, the kind: the credential."),
        Key("database", Template(blocks=True), "With `backend`, the kind: the file."),
        Key("table", Template(blocks=True), "With `backend`: the table."),
        Key("from", ANY, "With `backend`: a path or a template; one row for each element."),
        Key("mode", INSERTION, INSERTION_TEXT, "insert"),
        Key("on_error", Choice(("fail", "ignore")), "What a failure of the sink does.", "fail"),
    ),
    one_of=(("tool", "backend"),),
)
MODES: Final = ("append", "extend", "replace", "merge", "collect")
COLLECT: Final = Form(
    "Collect",
    "Adds a part of a response to a list that grows over calls.",
    (
        Key(
            "from", Template(), "What to add: a path such as `response.data.items`, or a template."
        ),
        Key("into", Text(), "The name in `ctx`."),
        Key("mode", Choice(MODES[:4]), "How it is added.", "append"),
        Key("path", Text(), "What to add, as a path in the body of the response."),
        Key("strategy", Choice(MODES), "The same as `mode`, with `path`.", "append"),
    ),
    one_of=(("from", "path", "strategy"),),
)
_SET_PAIR: Final = Form(
    "SetPair",
    "A name and its value.",
    (
        Key("name", Text(), "The name in `ctx`.", missing="'name' is missing"),
        Key("value", ANY, "Its value.", missing="'value' is missing"),
    ),
)


class _Computed(Template):
    """A template that gives a mapping."""

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and "{{" in value


_FAIL: Final = Form(
    "Fail",
    "Ends this branch with a failure.",
    (
        Key("message", ANY, "What is said."),
        Key("fail_workflow", Flag(), "Whether the whole execution fails at once.", "false"),
    ),
)
_SKIP: Final = Form("Skip", "Makes no call.", (Key("reason", ANY, "Why."),))
CALL: Final = Fields(blocks=True, says="a mapping: what the next call changes, or {step, args}")
_ACTIONS: Final[dict[str, tuple[Shape, str]]] = {
    "set": (
        Either(
            (Fields(), ListOf(_SET_PAIR), _Computed()),
            "a mapping, a list of {name, value}, or a template that gives a mapping",
        ),
        "Write values into `ctx`: `{ctx: …, flags: …}`, names and values, or all of a mapping.",
    ),
    "collect": (COLLECT, "Add a part of the response to a list."),
    "result": (ANY, "The result of the step: `{from: path or template}`, or the value itself."),
    "call": (
        Either((_TARGET, CALL), CALL.says),
        "The next page: the same call with these changes; or `{step, args}`: begin another step.",
    ),
    "retry": (
        Either(
            (
                Form("Retry", "The same call again.", (*RETRY_KEYS, *_PAGE_KEYS)),
                ATTEMPTS,
                Choice((True,)),
            ),
            "a mapping, a number of attempts, or true",
        ),
        "The same call again after a failure; with `params` and the like: the next page.",
    ),
    "sink": (SINK, "Store something by another tool."),
    "next": (NEXT, "Continue with these steps, in place of the step's `next`."),
    "fail": (Either((_FAIL, Template()), "a mapping with 'message', or a text"), "Fail."),
    "skip": (
        Either((_SKIP, Choice((True, None)), Template()), "a mapping with 'reason', or true"),
        "Make no call for this step or item.",
    ),
}
_NO_ACTION: Final = "is empty; write at least one action"
THEN: Final = Form(
    "Then",
    f"Actions, which run in this order: {', '.join(ORDER)}.",
    tuple(Key(name, *_ACTIONS[name]) for name in ORDER),
    empty=_NO_ACTION,
)


class _OneAction(Form):
    """An element of a list of actions."""

    def inside(self, value: Any, path: JsonPath, report: Report) -> None:
        super().inside(value, path, report)
        if len(value) > 1:
            report.problem(path, "a list of actions has one action in each element")


_ONE_ACTION: Final = _OneAction(THEN.name, THEN.text, THEN.keys, empty=_NO_ACTION)
CASE: Final = Form(
    "Case",
    "What happens when a condition holds.",
    (
        Key(
            "when",
            Condition(),
            "The condition, with or without {{ }}.",
            missing="'when' is missing",
        ),
        Key(
            "then",
            Either(
                (THEN, ListOf(_ONE_ACTION, _NO_ACTION)), "a mapping of actions, or a list of them"
            ),
            "What is done.",
            missing="'then' is missing",
        ),
    ),
)
