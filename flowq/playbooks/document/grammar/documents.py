"""The language of playbooks as one table: every key, its shape, its meaning.

`checking` walks it over a document, `json_schema` makes JSON Schema of it, and the reference in
the documentation is generated from it. What depends on several keys at once stands in `rules`.
"""

from typing import Final

from flowq.playbooks.document.grammar.actions import (
    ANY,
    ARGS,
    ATTEMPTS,
    CALL,
    CASE,
    COLLECT,
    FACTOR,
    MODES,
    NEXT,
    RETRY_KEYS,
    SECONDS,
    SINK,
)
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
    Name,
    Number,
    Schema,
    Shape,
    Text,
)
from flowq.playbooks.document.grammar.tools import ASSERT, KINDS, YEAR, ToolShape

MAX_ITEMS_AT_ONCE: Final = 1000
MAX_NAME: Final = 80

_RETRY_RULE: Final = Form(
    "RetryRule",
    "Another call, when a condition holds.",
    (
        Key("when", Condition(), "The condition.", missing="'when' is missing"),
        Key(
            "then",
            Form(
                "RetryThen",
                "What the next call is.",
                (
                    Key("max_attempts", ATTEMPTS, "Calls in all.", "3"),
                    Key("initial_delay", SECONDS, "Seconds before the next call.", "0.5"),
                    Key("backoff_multiplier", FACTOR, "How delays grow.", "2"),
                    Key("max_delay", SECONDS, "The longest delay."),
                    Key("next_call", CALL, "What the next call changes: another page."),
                    Key("collect", COLLECT, "What is collected before."),
                    Key("sink", SINK, "What is stored before."),
                ),
            ),
            "What is done.",
            missing="'then' is missing",
        ),
    ),
)
RETRY: Final = Either(
    (
        Flag(),
        ATTEMPTS,
        Form(
            "StepRetry",
            "Attempts of one call.",
            (
                Key("max_attempts", ATTEMPTS, "Attempts in all.", "3"),
                Key("initial_delay", SECONDS, "Seconds before the second attempt.", "1"),
                Key("max_delay", SECONDS, "The longest delay in seconds.", "60"),
                Key("backoff_multiplier", FACTOR, "How delays grow.", "2"),
                Key(
                    "jitter",
                    Either((Flag(), Number(0, 1)), "true, false, or a share from 0 to 1"),
                    "By what share a delay may be shorter; true is a half.",
                    "true",
                ),
                Key("retry_when", Condition(), "Try again only when this holds."),
                Key("stop_when", Condition(), "Do not try again when this holds."),
            ),
        ),
        ListOf(_RETRY_RULE),
    ),
    "true, a number of attempts, a mapping, or a list of {when, then}",
)
PAGINATION: Final = Form(
    "Pagination",
    "Each item asks for page after page.",
    (
        Key("type", Choice(("response_based",)), "How the next page is found.", "response_based"),
        Key(
            "continue_while",
            Condition(),
            "There is another page. Names: response, iteration (from 0), accumulated.",
            missing="'continue_while' is missing",
        ),
        Key("next_page", CALL, "What the next call changes.", missing="'next_page' is missing"),
        Key("merge_strategy", Choice(MODES), "How pages are joined.", "append"),
        Key("merge_path", Text(), "The list in the body of a page.", "the body"),
        Key("max_iterations", ATTEMPTS, "The most pages.", "1000"),
        Key("retry", Form("PageRetry", "Attempts of a page.", RETRY_KEYS), "Attempts of one page."),
    ),
)
LOOP: Final = Form(
    "Loop",
    "The step runs once for each item.",
    (
        Key(
            "in",
            Anything(),
            "The items: a list, or a template.",
            missing="'in' is missing: a list, or a template that gives one",
        ),
        Key(
            "iterator",
            Name(),
            "What templates call the item.",
            missing="'iterator' is missing: what templates call the item",
        ),
        Key(
            "mode",
            Choice(("sequential", "parallel", "async")),
            "One by one, or at once.",
            "sequential",
        ),
        Key("max_concurrency", Number(1, MAX_ITEMS_AT_ONCE, whole=True), "Items at once.", "50"),
        Key(
            "on_error", Choice(("fail", "collect")), "What a failed item does to the loop.", "fail"
        ),
        Key("pagination", PAGINATION, "Each item asks for page after page."),
    ),
)

STEP: Final = Form(
    "Step",
    "One step: a tool that is called, and what follows.",
    (
        Key(
            "step",
            Text(MAX_NAME),
            "Its name, of 1 to 80 characters without '#'.",
            missing="'step' is missing: the name of the step",
        ),
        Key("desc", Text(), "What it is for."),
        Key("args", ARGS, "Arguments; those of the transition come on top."),
        Key("loop", LOOP, "Run it once for each item."),
        Key("tool", ToolShape(), "What it calls.", missing="'tool' is missing"),
        Key("case", ListOf(CASE), "What is done on its events; the first entry that matches."),
        Key("next", NEXT, "What follows when no entry of `case` has said it."),
        Key("vars", ARGS, "Values that are written into `ctx` at its end."),
        Key("join", Choice(("each", "all")), "With `all` it waits for all branches.", "each"),
        Key("retry", RETRY, "How often a failed call is repeated."),
        Key("timeout", Number(0.001, YEAR), "The longest time of one call in seconds."),
        Key("queue", Text(), "The Celery queue of its calls."),
        Key("sink", SINK, "What is stored at its end."),
        Key("result", ANY, "Its result: `{from: path or template}`, or the value itself."),
    ),
    refused={
        "type": "'type' field is not allowed in v2; write 'tool: {kind: …}'",
        "when": "'when' is not allowed at a step in v2; write a 'case' at the step before it",
    },
    hints=dict.fromkeys(
        {key.name for form in KINDS.values() for key in form.keys},
        "fields of a tool stand below 'tool'",
    ),
)
TASK: Final = Form(
    "Task",
    "A tool that steps call by name.",
    (
        Key("name", Text(), "Its name.", missing="'name' is missing"),
        Key("tool", ToolShape(), "The tool.", missing="'tool' is missing"),
        Key("desc", Text(), "What it is for."),
        Key("sink", SINK, "What is stored after each call."),
        Key("assert", ASSERT, "What is checked around each call."),
    ),
)
METADATA: Final = Form(
    "Metadata",
    "What the playbook is called; other keys are kept.",
    (
        Key("name", Text(200), "Its name.", missing="Metadata must include 'name'"),
        Key("path", Text(200), "Its address in the catalogue.", "the name"),
        Key("version", ANY, "Its version, for people."),
        Key("labels", Anything(rendered=False), "Labels."),
        Key("description", Text(), "What it is for."),
    ),
    free=Anything(rendered=False),
)
_CREDENTIAL: Final = Form(
    "Credential",
    "A credential that must exist; its value is never in a document.",
    (
        Key("name", Text(), "Its name.", missing="'name' is missing"),
        Key("kind", Text(), "Its kind.", missing="'kind' is missing"),
        Key("description", Text(), "What it is for."),
    ),
    hint="a credential is defined by the operator, in FLOWQ_CREDENTIALS",
)
PLAYBOOK: Final = Form(
    "Playbook",
    "A workflow that is written as data.",
    (
        Key(
            "apiVersion",
            Choice(("noetl.io/v2",)),
            "The version of the language.",
            missing="'apiVersion' is missing; write 'apiVersion: noetl.io/v2'",
        ),
        Key(
            "kind",
            Choice(("Playbook",)),
            "What this is.",
            missing="'kind' is missing; write 'kind: Playbook'",
        ),
        Key("metadata", METADATA, "What it is called.", missing="'metadata' is missing"),
        Key(
            "workload",
            Fields(rendered=False),
            "Values that a run starts with; its payload comes on top.",
        ),
        Key("workbook", ListOf(TASK), "Tools that steps call by name."),
        Key("keychain", ListOf(_CREDENTIAL), "Credentials that must exist."),
        Key(
            "workflow",
            ListOf(STEP, "Workflow cannot be empty; write a step named 'start'"),
            "The steps; one is named 'start'.",
            missing="'workflow' is missing: a list of steps",
        ),
    ),
)


def json_schema() -> Schema:
    """Return the JSON Schema of playbooks."""
    parts: dict[str, Schema] = {}
    root = PLAYBOOK.schema(parts)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": parts}


def forms() -> list[Form]:
    """Return every form of the language, a form before those that its keys have."""
    found: dict[str, Form] = {}
    waiting: list[Shape] = [PLAYBOOK]
    while waiting:
        shape = waiting.pop(0)
        if isinstance(shape, Form) and shape.name not in found:
            found[shape.name] = shape
        if isinstance(shape, Form) and found[shape.name] is shape:
            waiting += [key.shape for key in shape.keys]
        waiting += shape.shapes if isinstance(shape, Either) else ()
        waiting += [shape.item] if isinstance(shape, ListOf) else ()
    return list(found.values())
