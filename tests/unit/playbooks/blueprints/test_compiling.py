"""What each type of node becomes, by what the playbook then does; and what is refused."""

from typing import Any

import pytest
from hypothesis import given

from flowq.playbooks.blueprints import Blueprint, InvalidBlueprint, compiled
from flowq.playbooks.blueprints.models import read
from flowq.playbooks.control.control import PlaybookFailed
from flowq.playbooks.control.events import Failure
from flowq.playbooks.parser import read_playbook
from tests.tools.controls.driving import Drive
from tests.tools.playbooks.blueprints import blueprint, data, graphs, node, runnable

FAILED = Failure("no", type="ValueError")


def driven(document: Blueprint, answers: Any = None, **payload: Any) -> Drive:
    drive = Drive(compiled(document), answers, payload=payload)
    assert drive.control.is_done
    return drive


def steps(document: Blueprint, answers: Any = None, **payload: Any) -> str:
    return " ".join(driven(document, answers, **payload).steps())


def problems(document: dict[str, Any], *, known: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(InvalidBlueprint) as refused:
        compiled(read(document), known)
    return [str(one) for one in refused.value.problems]


# --- each type of node ----------------------------------------------------------------------------


def test_inputs_become_variables_and_the_output() -> None:
    document = blueprint("s>e", s=node("s", "start", inputs={"lower": True, "text": "no"}))

    assert {"lower": True, "text": "fire"} == driven(document, text="fire").result


def test_steps_get_variables_and_give_them() -> None:
    drive = driven(blueprint("s>a a>e"), {"a": [{"urgent": True}]}, text="fire")

    called = drive.commands[1]
    assert ("step", "tests.step") == (called.tool.kind, called.tool.config["name"])
    assert {"text": "fire"} == called.tool.config["fill"]
    assert {"text": "fire", "urgent": True} == drive.result


def test_arguments_replace_variables() -> None:
    own = node("a", "step", args={"t": "{{ text }}!"}, output="o", retry=3, timeout=5, queue="q")
    drive = driven(blueprint("s>a a>e", a=own), {"a": [[1]]}, text="fire")

    called = drive.commands[1]
    assert {"t": "fire!"} == called.args
    assert "fill" not in called.tool.config
    assert called.retry is not None
    assert (3, 5, "q") == (called.retry.max_attempts, called.timeout.total_seconds(), called.queue)  # type: ignore[union-attr]
    assert {"text": "fire", "o": [1]} == drive.result


def test_tools_are_counted() -> None:
    http = node("b", "tool", tool={"kind": "http", "url": "http://x/{{ n }}"})
    body = {"status": 200, "status_code": 200, "headers": {}, "data": {"found": 1}}
    drive = driven(blueprint("s>a a>b b>e", a=node("a", "tool"), b=http), {"b": [body]}, n=3)

    assert "http://x/3" == drive.commands[2].tool.config["endpoint"]
    assert {"n": 3, "tool_calls": 2, "found": 1} == drive.result


def test_models_answer_into_a_variable() -> None:
    asked = node("a", "model", prompt="About {{ text }}", system="Be short.", temperature=0)
    drive = driven(blueprint("s>a a>e", a=asked), {"a": ["ok"]}, text="fire")

    assert ("llm", "About fire", 0) == (
        drive.commands[1].tool.kind,
        drive.commands[1].tool.config["prompt"],
        drive.commands[1].tool.config["temperature"],
    )
    assert {"text": "fire", "response": "ok"} == drive.result


def test_memory_needs_its_step_type() -> None:
    document = data("s>m m>e", m={"id": "m", "type": "memory"})

    [problem] = problems(document)
    assert "no step type 'memory' is registered" in problem
    book = compiled(read(document), ("memory",))
    assert "memory" == book.step("m").tool.config["name"]  # type: ignore[union-attr]


def test_variables_are_rendered() -> None:
    many = {"id": "b", "type": "variable", "config": {"values": {"y": "{{ x + 1 }}", "z": [1]}}}
    first = node("a", "variable", name="x", value="{{ n * 2 }}")

    assert {"n": 2, "x": 4, "y": 5, "z": [1]} == driven(
        blueprint("s>a a>b b>e", a=first, b=many), n=2
    ).result


@pytest.mark.parametrize(
    "urgent, wanted",
    [
        (True, "start a q e"),
        ("true", "start a q e"),
        (False, "start a q w e"),
        (3, "start a q w e"),
    ],
)
def test_conditional_with_a_condition(urgent: Any, wanted: str) -> None:
    choice = node("q", "conditional", condition="variable urgent equals true")
    document = blueprint(
        "s>a a>q q>e:true q>w:false w>e", q=choice, w=node("w", "delay"), e=node("e", "variable")
    )

    assert f"{wanted} end" == steps(document, {"a": [{"urgent": urgent}]})


@pytest.mark.parametrize(
    "n, wanted", [(1, "start q a end"), (2, "start q b c end"), (3, "start q d end")]
)
def test_conditional_whose_edges_have_conditions(n: int, wanted: str) -> None:
    """Several edges of one condition are branches."""
    document = blueprint(
        "s>q q>a:n_==_1 q>b:n_==_2 q>c:n_==_2 q>d a>e b>e c>e d>e", q=node("q", "conditional")
    )

    assert wanted == steps(document, n=n)


def test_path_without_an_edge_leads_to_the_end() -> None:
    choice = node("q", "conditional", condition="variable go equals true")

    assert "start q end" == steps(blueprint("s>q q>a:true", q=choice))
    assert "start q a end" == steps(blueprint("s>q q>a:true", q=choice), go=True)


def test_branches_join_once() -> None:
    assert "start a b c end" == steps(blueprint("s>a s>b a>c b>c c>e"))


@pytest.mark.parametrize("most", [0, 1, 3])
def test_loop_goes_round_at_most_so_often(most: int) -> None:
    loop = node("l", "loop", max_iterations=most)
    drive = driven(blueprint("s>l l>a a>l l>e", l=loop))

    assert ["start", *["l", "a"] * most, "l", "end"] == drive.steps()
    assert {"l.iteration": 0, "iteration": most} == drive.result


def test_loop_goes_round_ten_times_by_default() -> None:
    assert 10 == driven(blueprint("s>l l>a a>l l>e", l=node("l", "loop"))).steps().count("a")


def test_loop_ends_when_its_condition_does_not_hold() -> None:
    loop = node("l", "loop", condition="variable done not equals true")
    document = blueprint("s>l l>a a>l l>e", l=loop)

    assert "start l a l a l end" == steps(document, {"a": [{}, {"done": True}]})


@pytest.mark.parametrize("condition", ["variable iteration < 2", "iteration < 2"])
def test_conditions_of_loops_see_their_own_iterations(condition: str) -> None:
    """The inner one has three, of which the condition of the outer one knows nothing."""
    outer = node("o", "loop", condition=condition)
    document = blueprint("s>o o>i i>a a>i i>o o>e", o=outer, i=node("i", "loop", max_iterations=3))

    assert 6 == driven(document).steps().count("a")


def test_loop_in_a_loop_begins_anew() -> None:
    """The exit of the inner one leads back to the outer one; both bodies have two branches."""
    inner, outer = node("i", "loop", max_iterations=2), node("o", "loop", max_iterations=2)
    document = blueprint("s>o o>x o>y x>i y>i i>a i>b a>i b>i i>z z>o o>e", i=inner, o=outer)

    once = "x y i a b i a b i z"
    assert f"start o {once} o {once} o end" == steps(document)


def test_loop_says_which_edge_is_its_body_when_the_graph_does_not() -> None:
    """`a` is entered from outside of the loop, too."""
    text = "s>q q>a:n_==_1 q>l:else a>l l>a{} l>e{}"
    nodes = {"q": node("q", "conditional"), "l": node("l", "loop", max_iterations=1)}

    [problem] = problems(data(text.format("", ""), **nodes))
    assert "no edge of the loop 'l' leads back to it" in problem
    assert "start q l a l end" == steps(blueprint(text.format(":continue", ":exit"), **nodes))


def test_delay_is_a_timer() -> None:
    later = node("a", "delay", seconds="{{ n * 60 }}")
    drive = driven(blueprint("s>a a>e", a=later), n=2)

    assert ("timer", 120) == (drive.commands[1].work, drive.commands[1].tool.config["seconds"])


def test_failure_leads_to_its_handler() -> None:
    document = blueprint("s>a a>b a>h h>c b>e c>e", h=node("h", "error_handler"))

    assert "start a b end" == steps(document)
    drive = driven(document, {"a": [FAILED]})
    assert ["start", "a", "h", "c", "end"] == drive.steps()
    assert "ValueError" == drive.result["error"]["type"]  # type: ignore[index]


def test_handler_without_edges_to_it_handles_all_failures_but_those_after_it() -> None:
    document = blueprint("s>a a>b b>e h>c", h=node("h", "error_handler", output="why"))

    assert "start a h c end" == steps(document, {"a": [FAILED]})
    assert "start a b h c end" == steps(document, {"b": [FAILED]})
    with pytest.raises(PlaybookFailed, match="step 'c' failed"):
        driven(document, {"b": [FAILED], "c": [FAILED]}).control.outcome()


def test_arguments_that_cannot_be_rendered_are_handled_too() -> None:
    document = blueprint(
        "s>a a>h", a=node("a", args={"x": "{{ no.body }}"}), h=node("h", "error_handler")
    )

    assert "start h end" == steps(document)


def test_failure_without_a_handler_fails_the_instance() -> None:
    with pytest.raises(PlaybookFailed, match="step 'a' failed: ValueError: no"):
        driven(blueprint("s>a a>e"), {"a": [FAILED]}).control.outcome()


def test_end_says_what_the_output_is() -> None:
    said = node("e", "end", output={"from": "{{ a.n }}", "of": "{{ text }}"})

    assert {"from": 5, "of": "x"} == driven(
        blueprint("s>a a>e", e=said), {"a": [{"n": 5}]}, text="x"
    ).result


@pytest.mark.parametrize("go, wanted", [(True, "yes"), (False, {"go": False})])
def test_several_ends_have_outputs_of_their_own(go: object, wanted: Any) -> None:
    choice = node("q", "conditional", condition="variable go equals true")
    yes, other = node("end", "end", output="yes"), node("f", "end")

    assert (
        wanted
        == driven(blueprint("s>q q>end:true q>f:false", q=choice, end=yes, f=other), go=go).result
    )


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, nodes, wanted",
    [
        ("a>e", {}, "nodes: needs one node of the type 'start'; there are 0"),
        ("s>e t>e", {"t": node("t", "start")}, "needs one node of the type 'start'; there are 2"),
        ("s>a a>b b>a", {}, "edges: a -> b -> a is a cycle without a node of the type 'loop'"),
        ("s>a a>a", {}, "edges: a -> a is a cycle"),
        ("s>e", {"a": node("a")}, "nodes[2]: no edge leads from the start to 'a'; it never runs"),
        ("s>a a>x", {"x": node("e", "end")}, "edges[1].target: there is no node 'x'"),
        ("s>a a>e s>a", {}, "edges[0]: is there twice"),
        ("s>a a>s", {}, "edges[1].target: no edge leads to the start"),
        ("s>e e>a", {}, "edges[1].source: no edge leads out of an end"),
        ("s>a:true", {}, "edges[0].condition: 's' is a start; a conditional has conditions"),
        ("s>q", {"q": node("q", "conditional")}, "the conditional 'q' has no edges"),
        ("s>q q>e", {"q": node("q", "conditional", condition="x")}, "must be 'true' or 'false'"),
        ("s>q q>e:(", {"q": node("q", "conditional")}, "edges[1].condition: is neither in words"),
        (
            "s>q q>e:true",
            {"q": node("q", "conditional", condition="a b")},
            "nodes[1].config.condition: is neither in words",
        ),
        ("s>l l>e", {"l": node("l", "loop")}, "no edge of the loop 'l' leads back to it"),
        (
            "s>l l>a:exit a>l l>b:continue b>l",
            {"l": node("l", "loop")},
            "the exit to 'a' leads back into the loop 'l'",
        ),
        ("s>l l>a:x a>l", {"l": node("l", "loop")}, "must be 'continue' or 'exit'"),
        ("s>v v>h", {"v": node("v", "variable"), "h": node("h", "error_handler")}, "never fails"),
        (
            "s>a a>h a>i",
            {"h": node("h", "error_handler"), "i": node("i", "error_handler")},
            "keep one",
        ),
        (
            "s>e",
            {"h": node("h", "error_handler"), "i": node("i", "error_handler")},
            "is the second",
        ),
        (
            "s>v",
            {"v": node("v", "variable", value=["{{ secret.KEY }}"])},
            "nodes[1].config: 'secret' is known to workers only",
        ),
        (
            "s>e",
            {"e": node("e", "end", output={"x": "{% if 1 %}{{ auth.db }}{% endif %}"})},
            "nodes[1].config.output: 'auth' is known to workers only",
        ),
        (
            "s>q q>e:secret.KEY_==_1",
            {"q": node("q", "conditional")},
            "edges[1].condition: asks for 'secret'",
        ),
        ("s>start start>e", {}, "nodes[1].id: 'start' is kept for the node of that type"),
        ("s>a a>e", {"b": node("a")}, "nodes[3].id: 'a' is the id of nodes[1]; ids are unique"),
        ("s>a", {"a": node("a", args={"x": "{{ 1 +"})}, "nodes[1].config.args.x: "),
        (
            "s>a",
            {"a": node("a", "tool", tool={"kind": "htpp"})},
            "nodes[1].config.tool.kind: unknown kind",
        ),
        ("s>a", {"a": node("a", "tool", tool={"kind": "http"})}, "nodes[1].config.tool"),
        (
            "s>a",
            {"a": node("a", "delay", seconds=-1)},
            "nodes[1].config.seconds: must be a number from 0",
        ),
        ("s>a", {"a": node("a", retry="often")}, "nodes[1].config.retry: must be true, a number"),
        (
            "s>a",
            {"a": node("a", "model", schema={"a": 1}, max_tokens="{{")},
            "nodes[1].config.max_tokens",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, nodes: Any, wanted: str) -> None:
    found = problems(data(text, **nodes))

    assert any(wanted in one for one in found), found


def test_all_problems_are_reported_at_once() -> None:
    document = data("s>a a>b b>a q>e:( x>e", q=node("q", "conditional"))
    document["nodes"] = [one for one in document["nodes"] if one["id"] != "x"]

    assert 5 == len(problems(document))


@pytest.mark.parametrize(
    "changes, wanted",
    [
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"colour": 1}, "colour: there is no such key"),
        ({"nodes": [{"id": "s", "type": "strat"}]}, "nodes[0]: 'type' must be one of conditional"),
        ({"nodes": [node("a", slg=1)]}, "nodes[0].config.slg: there is no such key"),
        ({"nodes": [{"id": "t", "type": "tool", "config": {}}]}, "nodes[0].config: give slug"),
        ({"nodes": [{"id": "m", "type": "model", "config": {}}]}, "nodes[0].config: give prompt"),
        ({"nodes": [{"id": "v", "type": "variable", "config": {}}]}, "config: give name and value"),
        ({"nodes": [node("a#1")]}, "nodes[0].id: String should match pattern"),
        ({"edges": [{"source": "a"}]}, "edges[0].target: is missing"),
        ({"nodes": 3}, "nodes: Input should be a valid list"),
        ({"config": {"x": float("nan")}}, "config.x: is nan, which JSON cannot represent"),
        ({"config": {"x": "a" * (1 << 20)}}, "the limit is 1,048,576"),
    ],
)
def test_wrong_shapes_are_said_with_their_places(changes: Any, wanted: str) -> None:
    found = problems({"name": "test", **changes})

    assert any(wanted in one for one in found), found


def test_what_front_ends_add_is_kept() -> None:
    given = data("s>e")
    given["nodes"][0] |= {"position": {"x": 1}, "label": "Begin"}
    given["edges"][0]["animated"] = True

    assert given == read(given).plain()
    assert "Begin" == compiled(read(given)).step("start").desc  # type: ignore[union-attr]


def test_draft_says_what_it_lacks() -> None:
    draft = {
        "name": "rag",
        "config": {"required_tools": ["search"], "required_retrievers": ["docs"]},
    }

    [problem] = problems(draft)
    assert "a node of the type 'start'" in problem
    assert "'tool' for search; nodes of the type 'retrieval' for docs" in problem


# --- any graph ------------------------------------------------------------------------------------


@given(graphs())
def test_any_graph_gives_a_valid_playbook_or_problems(document: dict[str, Any]) -> None:
    try:
        book = compiled(read(document))
    except InvalidBlueprint:
        return
    assert read_playbook(book.to_yaml()) == book


@given(runnable())
def test_graphs_that_run_come_to_their_end(document: dict[str, Any]) -> None:
    """Every step runs once at most, after one of those before it; the end runs last."""
    drive = driven(read(document))

    ran = drive.steps()
    assert "end" == ran[-1]
    assert len(set(ran)) == len(ran)
    before: dict[str, set[str]] = {one["target"]: set() for one in document["edges"]}
    for one in document["edges"]:
        before[one["target"]].add(one["source"].replace("s", "start", 1))
    for at, name in enumerate(ran[1:-1], start=1):
        assert before[name] & set(ran[:at])
