"""The kinds of tools: the keys of each, as forms.

A kind that is missing here is unknown; `ELSEWHERE` are those that documents from other engines
have. The fields of code are no templates, since code has braces of its own.
"""

from dataclasses import dataclass
from typing import Any, Final

from flowq.core.text.json_values import JsonPath
from flowq.playbooks.document.grammar.shapes import (
    Anything,
    Choice,
    Either,
    Fields,
    Form,
    Key,
    ListOf,
    Number,
    Schema,
    Template,
    Text,
)
from flowq.playbooks.document.report import Report, found

#: From the names that a field may have to the one that the canonical form has.
ALIASES: Final = {
    "http": {"url": "endpoint", "payload": "data", "body": "data"},
    "postgres": {"query": "command", "statement": "command"},
    "duckdb": {"query": "command", "statement": "command"},
    "sqlite": {"query": "command", "statement": "command"},
    "sql": {"query": "command", "statement": "command"},
    "workbook": {"name": "task", "with": "args"},
    "playbook": {"payload": "args", "with": "args"},
}
#: Fields with the payload of a tool that runs a playbook; the first that it has counts.
PAYLOADS: Final = ("payload", "args", "with")
ELSEWHERE: Final = (
    "iterator",
    "ducklake",
    "snowflake",
    "snowflake_transfer",
    "transfer",
    "gcs",
    "gateway",
    "container",
    "script",
)

YEAR: Final = 31_536_000
_TEXT: Final = Template(blocks=True)
_FIELDS: Final = Fields(blocks=True)
_ANY: Final = Anything(blocks=True)
_CODE: Final = Text()
_NAMES: Final = ListOf(Text())
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_METHOD: Final = Either(
    (Choice((*_METHODS, *(one.lower() for one in _METHODS))), _TEXT), "a method of HTTP"
)
#: Settings of a call of a model.
LLM_SETTINGS: Final = ("temperature", "max_tokens", "top_p", "seed")
_SECONDS: Final = Number(0.001, 86_400)

#: What a call must give and what its result must have.
ASSERT: Final = Form(
    "Assert",
    "What is checked before and after a call of the workbook.",
    (
        Key("expects", _NAMES, "Arguments that a call must give."),
        Key("returns", _NAMES, "Keys that the result must have."),
    ),
)


def _form(kind: str, text: str, *keys: Key, one_of: tuple[tuple[str, ...], ...] = ()) -> Form:
    common = (
        Key("kind", Text(), "Which tool this is."),
        Key("args", _FIELDS, "Arguments of the tool; those of the step come on top."),
        Key("assert", ASSERT, "In the workbook: what is checked around a call."),
    )
    return Form(f"Tool_{kind}", text, (*common, *keys), one_of=one_of)


#: How rows are inserted.
INSERTION: Final = Choice(("insert", "append", "ignore"))
INSERTION_TEXT: Final = (
    "How rows are written: `append` is the same as `insert`, `ignore` leaves out rows that a "
    "unique key of the table refuses."
)


def _sql(kind: str, where: str) -> Form:
    return _form(
        kind,
        f"Runs SQL in {where}; gives the rows of the last statement that has some.",
        Key("command", _TEXT, "Statements, separated by ';'."),
        Key("query", _TEXT, "The same as `command`."),
        Key("statement", _TEXT, "The same as `command`."),
        Key("params", _ANY, "Values that the driver binds, by name or by position."),
        Key("auth", _TEXT, "The name of the credential."),
        Key("database", _TEXT, "The file of the database, of SQLite and DuckDB."),
        Key("table", _TEXT, "In place of statements: the table that rows are inserted into."),
        Key("data", _ANY, "With `table`: a row, or a list of rows."),
        Key("mode", INSERTION, INSERTION_TEXT, "insert"),
        one_of=(("command", "query", "statement", "table"),),
    )


def _playbook(kind: str) -> Form:
    return _form(
        kind,
        "Runs another playbook as a child run.",
        Key(
            "path", _TEXT, "The path of the playbook in the catalogue.", missing="'path' is missing"
        ),
        Key("version", Anything(), "Its version.", "the newest"),
        Key("return_step", _TEXT, "The step whose result is taken."),
        Key("payload", _FIELDS, "The same as `args`."),
        Key("with", _FIELDS, "The same as `args`."),
    )


KINDS: Final = {
    "http": _form(
        "http",
        "Makes a request; a status of 400 or more fails the call.",
        Key("method", _METHOD, "The method.", "GET"),
        Key("endpoint", _TEXT, "The URL."),
        Key("url", _TEXT, "The same as `endpoint`."),
        Key("headers", _ANY, "Headers."),
        Key("params", _ANY, "Parameters of the query."),
        Key("data", _ANY, "The body: a mapping or a list is sent as JSON, a text as it is."),
        Key("payload", _ANY, "The same as `data`."),
        Key("body", _ANY, "The same as `data`."),
        Key("auth", _ANY, "The name of a credential."),
        Key("timeout", _SECONDS, "The longest time of the request in seconds."),
        one_of=(("endpoint", "url"),),
    ),
    "postgres": _sql("postgres", "PostgreSQL"),
    "duckdb": _sql("duckdb", "DuckDB"),
    "sqlite": _sql("sqlite", "SQLite"),
    "sql": _sql("sql", "the database of a credential, whose `kind` says which"),
    "python": _form(
        "python",
        "Runs Python: a function `main`, or a script that sets `result`.",
        Key("code", _CODE, "The code; not a template."),
        Key("code_b64", _CODE, "The code in Base64."),
        Key("script", _TEXT, "The file with the code, in the operator's folder."),
        Key("libs", Fields(rendered=False), "From a name to the module that has it in the code."),
        Key("auth", _ANY, "The name of a credential."),
        one_of=(("code", "code_b64", "script"),),
    ),
    "workbook": _form(
        "workbook",
        "Runs a task of the workbook.",
        Key("task", Text(), "The name of the task."),
        Key("name", Text(), "The same as `task`."),
        Key("with", _FIELDS, "The same as `args`."),
        one_of=(("task", "name"),),
    ),
    "playbook": _playbook("playbook"),
    "playbooks": _playbook("playbooks"),
    "secrets": _form(
        "secrets",
        "Gives a handle of a secret; the value itself is in no row.",
        Key("provider", Choice(("env", "credential")), "Where the secret is.", "env"),
        Key("name", _TEXT, "Its name.", missing="'name' is missing"),
    ),
    "llm": _form(
        "llm",
        "Asks a model.",
        Key("prompt", _TEXT, "The question."),
        Key("messages", _ANY, "A conversation, in place of `prompt`."),
        Key("system", _TEXT, "Instructions for the model."),
        Key("model", _TEXT, "The model, as `provider:name`."),
        Key("schema", Fields(rendered=False), "The JSON Schema that the answer must fit."),
        *(Key(name, _ANY, "As the model knows it.") for name in LLM_SETTINGS),
        one_of=(("prompt", "messages"),),
    ),
    "step": _form(
        "step",
        "Runs one of your step types.",
        Key("name", Text(), "Its registered name.", missing="'name' is missing"),
        Key("fill", _ANY, "A mapping that has the parameters which no argument gives."),
    ),
    "external": _form(
        "external",
        "Waits for an answer from outside.",
        Key("timeout", Number(0.001, YEAR), "The longest wait in seconds."),
    ),
    "delay": _form(
        "delay",
        "Waits for a time, without a worker.",
        Key(
            "seconds",
            Either((Number(0, YEAR), _TEXT), "a number from 0 to 31,536,000, or a template"),
            "How long.",
            missing="'seconds' is missing",
        ),
    ),
    "noop": _form("noop", "Does nothing; its result is its arguments."),
}


@dataclass(frozen=True)
class ToolShape:
    """A tool: the form of its kind."""

    says: str = "a mapping with 'kind'"

    def fits(self, value: Any) -> bool:
        """Return whether a value is a mapping."""
        return isinstance(value, dict)

    def check(self, value: Any, path: JsonPath, report: Report) -> None:
        """Report what is wrong with a tool."""
        if not isinstance(value, dict):
            report.problem(path, f"must be {self.says}; found {found(value)}")
            return
        kind = value.get("kind")
        if "kind" not in value:
            report.problem(path, f"must have 'kind' field; known are {', '.join(KINDS)}")
        elif isinstance(kind, str) and kind in KINDS:
            KINDS[kind].check(value, path, report)
        elif kind in ELSEWHERE:
            text = f"the kind {kind!r} is known and not provided; write 'kind: step'"
            report.problem((*path, "kind"), text)
        else:
            report.problem(
                (*path, "kind"), f"unknown kind of {found(kind)}; known are {', '.join(KINDS)}"
            )

    def schema(self, parts: dict[str, Schema]) -> Schema:
        """Return the JSON Schema."""
        if "Tool" not in parts:
            parts["Tool"] = {}
            parts["Tool"] |= {
                "type": "object",
                "description": "What a step calls.",
                "required": ["kind"],
                "properties": {"kind": {"enum": list(KINDS), "description": "Which tool this is."}},
                "allOf": [
                    {
                        "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                        "then": form.schema(parts),
                    }
                    for kind, form in KINDS.items()
                ],
            }
        return {"$ref": "#/$defs/Tool"}
