"""N15, N27, N33, N35: what templates see, by precedence; views of responses."""

from typing import Any

import pytest

from tests.tools.controls.driving import NOW, Drive, playbook

#: What may have a name, the strongest first.
SOURCES = ["iterator", "args", "step", "ctx", "workload"]


def seen(name: str, sources: list[str]) -> object:
    """Return what a step sees as `name` when some sources have it."""
    first: dict[str, Any] = {"step": "start", "next": [{"step": "probe"}]}
    made: list[dict[str, Any]] = []
    if "step" in sources:
        made.append({"step": name, "next": [{"step": "probe"}]})
        first["next"] = [{"step": name}]
    if "ctx" in sources:
        first["vars"] = {name: "ctx"}
    probe: dict[str, Any] = {"step": "probe", "tool": {"kind": "noop", "a": f"{{{{ {name} }}}}"}}
    if "args" in sources:
        probe["args"] = {name: "args"}
    if "iterator" in sources:
        probe["loop"] = {"in": ["iterator"], "iterator": name}
    workload = {name: "workload"} if "workload" in sources else {}
    drive = Drive(playbook(first, *made, probe, workload=workload), {name: ["step"]})
    return drive.commands[-1].tool.config["a"]


@pytest.mark.parametrize("first", range(4))
def test_precedence(first: int) -> None:
    """N35."""
    sources = SOURCES[first:]

    assert sources[0] == seen("name", sources)


@pytest.mark.parametrize("name", ["execution_id", "workload", "args", "ctx"])
def test_reserved_names_are_hidden_by_the_iterator_only(name: str) -> None:
    assert "iterator" == seen(name, ["iterator", "step"])
    assert "step" != seen(name, ["step"])


def probe(text: str, response: object = None, **rest: Any) -> object:
    """Return the value of an expression when a step has ended with a response."""
    book = playbook(
        {"step": "start", "next": [{"step": "b", "args": {"v": text}}]}, {"step": "b"}, **rest
    )
    return Drive(book, {"start": [response]}).commands[1].args["v"]


ENVELOPE = {
    "status": 200,
    "status_code": 200,
    "headers": {"a": "b"},
    "url": "u",
    "elapsed_ms": 1,
    "data": {"status": "inner", "paging": {"more": True}, "items": [1], "data": 5},
}


@pytest.mark.parametrize("name", ["response", "start", "result"])
@pytest.mark.parametrize(
    "path, value",
    [
        ("status", 200),
        ("data.status", "inner"),
        ("paging.more", True),
        ("data.paging.more", True),
        ("items", [1]),
        ("data.items[0]", 1),
        ("headers.a", "b"),
        ("data.data", 5),
    ],
)
def test_envelope_falls_through_to_its_body(name: str, path: str, value: object) -> None:
    """N15: also under the step's name."""
    assert value == probe(f"{{{{ {name}.{path} }}}}", ENVELOPE)


@pytest.mark.parametrize("name", ["response", "start"])
def test_envelope_is_plain_as_a_whole_value(name: str) -> None:
    assert ENVELOPE == probe(f"{{{{ {name} }}}}", ENVELOPE)


@pytest.mark.parametrize(
    "response", [12, "text", [1, 2], {"a": 1}, None, True, {"a": {"data": 1}}], ids=repr
)
def test_data_of_a_value_without_that_key_is_the_value(response: object) -> None:
    """N15."""
    assert response == probe("{{ response.data }}", response)


def test_data_of_a_loop_is_its_results() -> None:
    book = playbook(
        {
            "step": "start",
            "loop": {"in": [1], "iterator": "n"},
            "next": [{"step": "b", "args": {"v": "{{ start.data }}"}}],
        },
        {"step": "b"},
    )
    assert [7] == Drive(book, {"start": [7]}).commands[1].args["v"]


@pytest.mark.parametrize(
    "text, value",
    [
        ("{{ execution_id }}", "e1"),
        ("{{ job.uuid }}", "e1"),
        ("{{ workload.a.b }}", 1),
        ("{{ workload.a.c }}", 3),
        ("{{ a.b }}", 1),
        ("{{ event.name }} of {{ event.step }}", "step.exit of start"),
        ("{{ event.payload.status }}", "completed"),
        ("{{ [event.attempt, event.page] }}", [1, 1]),
        ("{{ now() }}", NOW.isoformat()),
        ("{{ uuid() }}", "00000000-0000-0000-0000-000000000001"),
        ("{{ 12 }}", 12),
        ("n{{ 12 }}", "n12"),
    ],
)
def test_values_of_names(text: str, value: object) -> None:
    """N4, N33, N35: native types; the payload is merged over the workload."""
    book = playbook(
        {"step": "start", "next": [{"step": "b", "args": {"v": text}}]},
        {"step": "b"},
        workload={"a": {"b": 0, "c": 3}},
    )
    assert value == Drive(book, payload={"a": {"b": 1}}).commands[1].args["v"]


def test_step_that_ended_last_gives_the_name_its_value() -> None:
    book = playbook(
        {"step": "start", "next": [{"step": "a"}, {"step": "a"}]},
        {"step": "a", "next": [{"step": "b", "args": {"v": "{{ a }}"}}]},
        {"step": "b"},
    )
    drive = Drive(book, {"a": [1, 2]})

    assert [1, 2] == [one.args["v"] for one in drive.commands[3:]]


def test_code_is_no_template() -> None:
    code = "result = f'{{x}}' + '{{ nowhere }}'"
    drive = Drive(playbook({"step": "start", "tool": {"kind": "python", "code": code}}))

    assert code == drive.commands[0].tool.config["code"]
