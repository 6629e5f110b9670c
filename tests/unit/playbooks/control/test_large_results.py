"""N70: a large result is passed on by reference, and loaded when a template reads it.

Also what only the worker knows: secrets, blocks, and what is made of them.
"""

from typing import Any

import pytest

from flowq.core.references import Concat, Reference, follow
from flowq.playbooks.control.commands import Command, Deferred, carried
from flowq.playbooks.running.tools import ready
from tests.tools.controls.driving import Drive, playbook

ROWS = list(range(3))
LONG = "x" * 2000


class Large:
    """A result that counts how often it is loaded."""

    path: tuple[str | int, ...] = ()

    def __init__(self, key: str, value: Any, *, is_loaded: bool = False) -> None:
        self.key = key
        self.is_loaded = is_loaded
        self._value = value
        self.loads = 0

    def load(self) -> Any:
        self.loads += 1
        return self._value


def envelope(**body: Any) -> dict[str, Any]:
    return {
        "status": 200,
        "status_code": 200,
        "headers": {},
        "url": "u",
        "elapsed_ms": 1,
        "data": body,
    }


def passed_on(text: str, value: object, *, kind: str = "http") -> tuple[object, int]:
    """Return the argument that a template makes of a large result, and how often it was loaded."""
    large = Large("start#1", value)
    step = {"step": "start", "tool": {"kind": kind}}
    book = playbook({**step, "next": [{"step": "b", "args": {"v": text}}]}, {"step": "b"})
    drive = Drive(book, {"start": [large]})
    return drive.commands[1].args["v"], large.loads


@pytest.mark.parametrize(
    "path, reference",
    [
        ("response", ()),
        ("start", ()),
        ("response.data", ("data",)),
        ("response.data.rows", ("data", "rows")),
        ("response.rows", ("data", "rows")),
        ("start.rows[0].id", ("data", "rows", 0, "id")),
        ("response.status", ("status",)),
    ],
)
def test_path_is_a_reference_and_loads_nothing(path: str, reference: tuple[Any, ...]) -> None:
    value = envelope(rows=[{"id": 1}])

    assert (Reference("start#1", reference), 0) == passed_on(f"{{{{ {path} }}}}", value)


def test_anything_else_loads_it_once_for_each_event() -> None:
    value = envelope(rows=ROWS)

    assert (3, 1) == passed_on("{{ response.rows | length + response.rows[0] }}", value)
    assert ("0 rows", 1) == passed_on("{{ response.rows[0] }} rows", value)


def test_data_of_another_tool_depends_on_its_value() -> None:
    reference = Reference("start#1", ("data",))

    assert reference == passed_on("{{ response.data }}", {"data": LONG}, kind="python")[0]
    assert Reference("start#1") == passed_on("{{ response.data }}", {"a": LONG}, kind="python")[0]


def test_reference_stays_one_over_arguments_and_variables() -> None:
    book = playbook(
        {"step": "start", "vars": {"kept": "{{ result.data }}"}, "next": [{"step": "a"}]},
        {
            "step": "a",
            "args": {"rows": "{{ ctx.kept.rows }}"},
            "tool": {"kind": "noop", "first": "{{ args.rows[0] }}", "all": ["{{ rows }}"]},
        },
    )
    large = Large("k", {"data": {"rows": [LONG]}})
    drive = Drive(book, {"start": [large]})

    command = drive.commands[1]
    rows = Reference("k", ("data", "rows"))
    assert {"rows": rows} == command.args
    assert {"first": Reference("k", (*rows.path, 0)), "all": [rows]} == command.tool.config
    record = command.to_queue_record()
    assert {"rows": {"$data": {"$ref": "k", "path": ["data", "rows"]}}} == record["args"]


def paged(mode: str) -> Drive:
    def answer(command: Command) -> object:
        return Large(f"page{command.page}", envelope(rows=[command.page], more=command.page < 3))

    collect = {"collect": {"from": "response.data.rows", "into": "all", "mode": mode}}
    case = [
        {
            "when": "event.name == 'call.done' and response.more",
            "then": [collect, {"call": {"params": {}}}],
        },
        {"when": "event.name == 'call.done'", "then": [collect]},
    ]
    book = playbook(
        {
            "step": "start",
            "tool": {"kind": "http"},
            "case": case,
            "next": [{"step": "b", "args": {"v": "{{ ctx.all }}"}}],
        },
        {"step": "b", "tool": {"kind": "noop", "n": "{{ all | length }}"}},
    )
    return Drive(book, {"start": answer})


def test_collected_pages_are_parts_of_one_list() -> None:
    drive = paged("extend")

    parts = tuple(Reference(f"page{n}", ("data", "rows")) for n in (1, 2, 3))
    assert Concat(parts) == drive.commands[-1].args["v"]
    assert 3 == drive.commands[-1].tool.config["n"]
    assert {"all": [1, 2, 3]} == drive.ctx


@pytest.mark.parametrize("is_loaded", [True, False])
def test_payload_of_a_child_playbook_is_a_mapping_with_large_values(*, is_loaded: bool) -> None:
    """The program merges it with the arguments of the step, so it cannot be one reference."""
    overrides = {"call": {"args": "{{ response }}"}}
    once = "event.name == 'call.done' and event.page == 1"
    child = {"kind": "playbook", "path": "p"}
    case = [{"when": once, "then": [overrides]}]
    book = playbook({"step": "start", "tool": child, "case": case})
    large = Large("k", {"a": LONG, "b": 1}, is_loaded=is_loaded)
    command = Drive(book, {"start": [large]}).commands[1]

    assert {"a": Reference("k", ("a",)), "b": 1} == command.tool.config["args"]


def test_missing_fields_of_a_page_are_left_to_the_worker() -> None:
    again = {"call": {"params": "{{ response.data.more }}"}}
    once = "event.name == 'call.done' and event.page == 1"
    tool = {"kind": "http", "params": {"a": 1}}
    book = playbook({"step": "start", "tool": tool, "case": [{"when": once, "then": [again]}]})
    drive = Drive(book, {"start": [Large("k", envelope(other=LONG))]})

    assert Reference("k", ("data", "more")) == drive.commands[1].tool.config["params"]


@pytest.mark.parametrize("form", ["late", "loaded", "plain"])
@pytest.mark.parametrize(
    "text",
    [
        "{{ ctx.data | default('none') }}",
        "{{ workload.data | default('none') }}",
        "{{ start.rows[0] }}",
        "{{ start.data.rows[0] }}",
        "{{ args.x.size }}",
        "{{ x.data | default('none') }}",
        "{{ whole.rows[0] }}",
    ],
)
def test_names_are_the_same_on_the_worker(text: str, form: str) -> None:
    """Only a result has an envelope that falls through, here and there."""
    value = envelope(rows=[7, LONG])
    given = value if form == "plain" else Large("k", value, is_loaded=form == "loaded")
    args = {"x": {"size": 5}, "whole": "{{ start }}"}
    book = playbook(
        {"step": "start", "tool": {"kind": "http"}, "next": [{"step": "b"}]},
        {
            "step": "b",
            "args": args,
            "tool": {"kind": "noop", "here": text, "there": "{% if secret %}{% endif %}" + text},
        },
        workload={"n": 1},
    )
    config = Drive(book, {"start": [given]}).commands[1].tool.config

    def loaded(data: Any) -> Any:
        """Return what the engine puts in the places of references."""
        if isinstance(data, Reference):
            return follow(value, data.path, data)
        if isinstance(data, dict):
            return {key: loaded(one) for key, one in data.items()}
        return [loaded(one) for one in data] if isinstance(data, list) else data

    there = ready(loaded(carried(config["there"])), {"secret": {}})
    assert str(loaded(config["here"])) == there


def test_collected_pages_are_loaded_once_each() -> None:
    """A list of many pages is passed on without being read again."""
    pages: list[Large] = []

    def answer(command: Command) -> object:
        pages.append(Large(f"page{command.page}", envelope(rows=ROWS, more=command.page < 3)))
        return pages[-1]

    collect = {"collect": {"from": "response.data.rows", "into": "all", "mode": "extend"}}
    done = "event.name == 'call.done'"
    case = [
        {"when": f"{done} and response.more", "then": [collect, {"call": {"params": {}}}]},
        {"when": done, "then": [collect]},
    ]
    args = {"v": "{{ ctx.all }}"}
    Drive(
        playbook(
            {"step": "start", "tool": {"kind": "http"}, "case": case, "next": [{"step": "a"}]},
            {"step": "a", "args": args, "next": [{"step": "b"}]},
            {"step": "b", "args": args},
        ),
        {"start": answer},
    )

    assert [1, 1, 1] == [page.loads for page in pages]


@pytest.mark.parametrize("form", ["late", "loaded", "plain"])
@pytest.mark.parametrize(
    "action",
    [
        {"collect": {"from": "response.data.rows", "into": "all", "mode": "extend"}},
        {"collect": {"from": "response.data.rows", "into": "all", "mode": "append"}},
        {"collect": {"path": "rows", "into": "all", "mode": "extend"}},
        {"result": {"from": "response.data.rows"}},
    ],
)
def test_missing_part_of_a_response_is_missing_in_every_form(
    form: str, action: dict[str, Any]
) -> None:
    value = envelope(other=LONG)
    given = value if form == "plain" else Large("k", value, is_loaded=form == "loaded")
    case = [{"when": "event.name == 'call.done'", "then": [action]}]
    book = playbook({"step": "start", "tool": {"kind": "http"}, "case": case})
    drive = Drive(book, {"start": [given]})

    assert {} == drive.ctx
    assert ("collect" in action) == ("collect.missed" in drive.names())
    assert "result" not in action or drive.result is None


def test_missing_part_that_is_read_later_fails_the_step() -> None:
    when = "event.name == 'call.done'"
    case = [{"when": when, "then": [{"set": {"ctx": {"a": "{{ response.data.rows }}"}}}]}]
    book = playbook(
        {"step": "start", "tool": {"kind": "http"}, "case": case, "next": [{"step": "b"}]},
        {"step": "b", "args": {"n": "{{ ctx.a | length }}"}},
    )
    state = Drive(book, {"start": [Large("k", envelope(other=LONG))]}).control.state

    assert state.error is not None
    assert ("b", "TemplateFailed") == (state.error_step, state.error.type)
    assert "k.data.rows does not exist in the response" in state.error.message


def test_appended_pages_are_elements() -> None:
    drive = paged("append")

    elements = [Reference(f"page{n}", ("data", "rows")) for n in (1, 2, 3)]
    assert elements == drive.commands[-1].args["v"]
    assert {"all": [[1], [2], [3]]} == drive.ctx


def test_result_of_pages_does_not_load_them() -> None:
    case = [{"when": "result is defined", "then": [{"collect": {"path": "rows"}}]}]
    book = playbook({"step": "start", "tool": {"kind": "http"}, "case": case})
    result: Any = Drive(book, {"start": [Large("k", envelope(rows=ROWS))]}).result

    assert Reference("k", ("status",)) == result["status"]
    rows = Reference("k", ("data", "rows"))
    assert Concat((rows,)) == result["data"] == result["_all_collected_items"]
    assert {"pages_collected": 1, "all_items": [rows]} == result["_pagination"]


def test_results_of_a_map_are_passed_on() -> None:
    book = playbook(
        {
            "step": "start",
            "loop": {"in": [1, 2, 3], "iterator": "n", "mode": "parallel"},
            "next": [{"step": "b"}],
        },
        {"step": "b"},
    )
    large = Large("map", ROWS)
    drive = Drive(book, {"start": [large]})

    stats = {"total": 3, "success": 3, "failed": 0}
    whole = {"results": Reference("map"), "stats": stats}
    assert ({"loop_results": whole}, 0) == (drive.commands[1].args, large.loads)


def test_map_over_a_large_list_gets_a_reference_to_each_element() -> None:
    book = playbook(
        {"step": "start", "next": [{"step": "b"}]},
        {"step": "b", "loop": {"in": "{{ start.rows }}", "iterator": "n", "mode": "parallel"}},
    )
    drive = Drive(book, {"start": [Large("k", {"rows": [LONG] * 3})], "b": [ROWS]})

    assert tuple(Reference("k", ("rows", at)) for at in range(3)) == drive.commands[1].items
    assert 3 == drive.result["stats"]["total"]  # type: ignore[index]


# --- what only the worker knows -------------------------------------------------------------------


def deferred(tool: dict[str, Any], **step: Any) -> Command:
    book = playbook({"step": "start", "tool": tool, **step}, workload={"w": 1})
    return Drive(book).commands[0]


@pytest.mark.parametrize(
    "text, names",
    [
        ("{{ secret.token }}", {}),
        ("Bearer {{ auth.a.b }} {{ w }}", {"w": 1}),
        ("{% if w %}yes{% endif %}", {"w": 1}),
        ("{{ keychain.a }}{{ nowhere }}", {}),
    ],
)
def test_text_is_left_to_the_worker(text: str, names: dict[str, Any]) -> None:
    """N24."""
    command = deferred({"kind": "http", "headers": {"a": text}})

    assert Deferred(text, names) == command.tool.config["headers"]["a"]
    record = command.to_queue_record()
    assert {"$text": text, "names": names} == record["tool_config"]["headers"]["a"]


def test_what_is_made_of_a_secret_is_left_to_the_worker_too() -> None:
    tool = {"kind": "http", "a": "{{ args.token }}", "b": "Bearer {{ token }}"}
    command = deferred(tool, args={"token": "{{ secret.t }}"})

    token = Deferred("{{ secret.t }}", {})
    assert {
        "a": token,
        "b": Deferred("Bearer {{ token }}", {"token": token}),
    } == command.tool.config
    assert {"token": token} == command.args


def test_condition_on_a_secret_is_false() -> None:
    case = [{"when": "secret.a == 'x'", "then": [{"set": {"ctx": {"a": 1}}}]}]

    assert {} == Drive(playbook({"step": "start", "case": case})).ctx


def test_large_result_in_what_the_worker_renders_stays_a_reference() -> None:
    book = playbook(
        {"step": "start", "next": [{"step": "b"}]},
        {"step": "b", "tool": {"kind": "noop", "a": "{% if start %}{{ start.x }}{% endif %}"}},
    )
    drive = Drive(book, {"start": [Large("k", {"x": 1})]})

    assert {"start": Reference("k")} == drive.commands[1].tool.config["a"].names
