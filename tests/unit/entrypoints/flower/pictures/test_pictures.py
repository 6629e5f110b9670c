"""Graphs and charts of times: what they show, and that no name in them is markup."""

import re
from datetime import timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowq.core.graph import MAX_NAME_LENGTH
from flowq.core.spec import FlowSpec, MapSpec, StepKind, StepSpec
from flowq.core.states import AttemptEnd, RunState, StepState
from flowq.engine.queries.graph import ChildRun, EdgeKind, PictureEdge, PictureNode, RunPicture
from flowq.entrypoints.flower.pictures.gantt import gantt_axis, run_gantt
from flowq.entrypoints.flower.pictures.graph import flow_graph, run_graph
from flowq.entrypoints.flower.pictures.svg import shortened
from tests.unit.entrypoints.flower.pictures.picturing import CHILD, at, node, past, run

SVG = "{http://www.w3.org/2000/svg}"
NOW = at(10)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in parsed(svg).iter(f"{SVG}text")]


def of_class(svg: str, *names: str) -> list[ET.Element]:
    return [one for one in parsed(svg).iter() if {*names} <= set((one.get("class") or "").split())]


def both(picture: RunPicture) -> list[str]:
    return [run_graph(picture, now=NOW), run_gantt(picture, now=NOW)]


HOSTILE = '</text><script>alert("x")</script>&\'\x00\x1b\ud800\ufffe'


@pytest.mark.parametrize(
    "hostile", [HOSTILE, "]]>", "<!--", "&lt;", '" onload="x', "\u202e\n", "名前" * 90]
)
def test_names_are_text_whatever_they_hold(hostile: str) -> None:
    bad = node(
        hostile,
        1,
        2,
        StepState.FAILED,
        name=hostile,
        error_type=hostile,
        error=hostile,
        worker=hostile,
        child=ChildRun(CHILD, RunState.FAILED),
    )
    edge = PictureEdge(hostile, "b", EdgeKind.CONDITION, hostile)
    picture = run([bad, node("b", 2, 3)], also=(edge,), flow_name=hostile)

    for draw in (run_graph, run_gantt):
        svg = draw(picture, now=NOW, link=lambda _: f"/{hostile}")
        root = parsed(svg)
        assert not list(root.iter(f"{SVG}script"))
        assert {name for one in root.iter() for name in one}.isdisjoint({"onload"})
        svg.encode()


@settings(max_examples=60)
@given(st.text(max_size=MAX_NAME_LENGTH), st.text(max_size=MAX_NAME_LENGTH))
def test_any_text_makes_a_picture(key: str, error: str) -> None:
    picture = run([node(key, 0, 1, StepState.FAILED, error_type="E", error=error)], ended=2)

    for svg in both(picture):
        parsed(svg)
    parsed(flow_graph(FlowSpec(name=error, steps=(StepSpec(key=key, name=error),))))


def test_each_state_is_shown_by_a_word_and_a_sign() -> None:
    picture = run([node(state, 0, 1, state) for state in StepState])

    graph, chart = both(picture)

    for state in StepState:
        (shape,) = of_class(graph, "fq-node", f"fq-{state}")
        assert any((one.text or "").startswith(state) for one in shape.iter(f"{SVG}text"))
        (row,) = of_class(chart, "fq-row", f"fq-{state}")
        assert next(one.text for one in row.iter() if one.get("class") == "fq-sign")
    signs = [one.text for one in of_class(graph, "fq-sign")]
    assert len(set(signs)) == len(signs)


def test_pictures_have_a_name_and_say_what_they_show() -> None:
    for svg in both(run([node("a", 0, 4)], ended=5)):
        root = parsed(svg)
        names = (root.get("aria-labelledby") or "").split()
        said = {one.get("id"): one.text for one in root}
        assert root.get("role") == "img"
        assert all(said[name] for name in names)
        assert "completed" in (said[names[1]] or "")


def test_map_is_one_node_with_counts_and_a_bar() -> None:
    counts = {StepState.COMPLETED: 9000, StepState.FAILED: 1, StepState.QUEUED: 999}
    crawl = node("crawl", 1, None, StepState.RUNNING, size=10_000, is_map=True, counts=counts)

    svg = run_graph(run([crawl], (), RunState.RUNNING), now=NOW)

    assert "9,001 of 10,000 · 1 failed" in texts(svg)
    widths = [float(one.get("width") or 0) for one in of_class(svg, "fq-fill")]
    whole = float(of_class(svg, "fq-rest")[0].get("width") or 0)
    assert widths[0] == pytest.approx(whole * 0.9, rel=0.01)
    assert widths[1] >= 1, "one of ten thousand is seen"


def fan(many: int) -> RunPicture:
    """A run in which so many steps are between two others."""
    middle = [node(f"m{i}", 1, 2) for i in range(many)]
    edges = [edge for one in middle for edge in (f"a>{one.key}", f"{one.key}>z")]
    return run([node("a", 0, 1), *middle, node("z", 2, 3)], edges)


def test_few_steps_with_the_same_neighbours_are_a_diamond_and_many_share_a_box() -> None:
    few, many = (run_graph(fan(number), now=NOW) for number in (4, 5))

    assert not of_class(few, "fq-batch")
    assert len(of_class(few, "fq-edge")) == 8
    assert len(of_class(many, "fq-batch")) == 1
    assert "5 steps in parallel" in texts(many)
    assert len(of_class(many, "fq-edge")) == 2


def chain(many: int, *also: PictureEdge) -> RunPicture:
    keys = [f"s{i:02}" for i in range(many)]
    edges = [f"{upper}>{lower}" for upper, lower in pairwise(keys)]
    nodes = [node("x", 0, 1), *(node(key, 0, 1) for key in keys)]
    return run(nodes, edges, also=also)


@pytest.mark.parametrize("many, boxes", [(7, 0), (8, 1), (60, 1)])
def test_long_chain_shares_a_box(many: int, boxes: int) -> None:
    svg = run_graph(chain(many), now=NOW)

    assert texts(svg).count(f"{many} steps, one after another") == boxes
    assert len(of_class(svg, "fq-node")) == many + 1
    assert len(of_class(svg, "fq-edge")) == many - 1, "each arrow is drawn, in the box or not"
    assert float(parsed(svg).get("height") or 0) < 1000


def test_chain_is_cut_where_something_else_joins_or_a_condition_is() -> None:
    for kind, condition in ((EdgeKind.DATA, None), (EdgeKind.CONDITION, "x.ok")):
        svg = run_graph(chain(16, PictureEdge("x", "s08", kind, condition)), now=NOW)

        assert ["8 steps, one after another"] * 2 == [
            text for text in texts(svg) if "one after" in text
        ]


def test_graph_goes_to_the_right_when_it_is_easier_to_see_so() -> None:
    steps = [node(f"{row}{i}", 0, 1) for row in "st" for i in range(12)]
    edges = [*(f"a>s{i}" for i in range(12)), *(f"s{i}>t{i}" for i in range(12))]
    wide = run_graph(run([node("a", 0, 1), *steps], edges), now=NOW)
    narrow = run_graph(run([node("a", 0, 1), *steps[:4]], edges[:4]), now=NOW)

    def starts(svg: str) -> set[float]:
        """Where nodes begin, from left to right."""
        return {float(one.get("x") or 0) for one in of_class(svg, "fq-box")}

    assert len(starts(wide)) == 3, "one column for each layer"
    assert len({one.get("y") for one in of_class(narrow, "fq-box")}) == 2


def test_node_is_as_wide_as_its_name_within_limits() -> None:
    names = ["a", "validate_and_normalise_it", "n" * 100]
    svg = run_graph(run([node(name, 0, 1) for name in names]), now=NOW)

    widths = [float(one.get("width") or 0) for one in of_class(svg, "fq-box")]
    assert widths[0] < widths[1] < widths[2] == 320
    assert {"a", "validate_and_normalise_it"} <= set(texts(svg))


def test_edge_has_the_state_of_its_beginning_and_is_off_beside_a_skipped_step() -> None:
    states = [
        (StepState.COMPLETED, StepState.RUNNING, "fq-completed"),
        (StepState.FAILED, StepState.CANCELLED, "fq-failed"),
        (StepState.PENDING, StepState.PENDING, "fq-data"),
        (StepState.COMPLETED, StepState.SKIPPED, "fq-off"),
        (StepState.SKIPPED, StepState.COMPLETED, "fq-off"),
    ]
    for before, after, cls in states:
        svg = run_graph(run([node("a", 0, 1, before), node("b", 1, 2, after)], ["a>b"]), now=NOW)
        (edge,) = of_class(svg, "fq-edge")
        assert (edge.get("class") or "").split()[-1] == cls
        assert edge.get("data-ends") == "0 1"


def test_condition_is_said_and_a_skipped_step_is_off() -> None:
    condition = PictureEdge("a", "b", EdgeKind.CONDITION, "a.ok == True")
    picture = run([node("a", 0, 1), node("b", None, 1, StepState.SKIPPED)], also=(condition,))

    svg = run_graph(picture, now=NOW)

    assert "when a.ok == True" in texts(svg)
    assert len(of_class(svg, "fq-edge", "fq-condition", "fq-off")) == 1
    assert len(of_class(svg, "fq-node", "fq-skipped")) == 1


def test_child_run_is_a_link_that_a_keyboard_reaches() -> None:
    child = node("c", 0, None, StepState.WAITING, kind=StepKind.FLOW)
    with_child = PictureNode(
        **{name: getattr(child, name) for name in child.__slots__ if name != "child"},
        child=ChildRun(CHILD, RunState.RUNNING),
    )
    picture = run([with_child, node("d", 0, 1)], (), RunState.RUNNING)

    def to_child(one: PictureNode) -> str | None:
        return f"/flows/{one.child.id}?a=1&b=2" if one.child else None

    for draw in (run_graph, run_gantt):
        svg = draw(picture, now=NOW, link=to_child)
        (link,) = parsed(svg).iter(f"{SVG}a")
        assert link.get("href") == f"/flows/{CHILD}?a=1&b=2"
        assert parsed(svg).get("role") == "group", "nothing in an image can be reached"
        both_linked = draw(picture, now=NOW, link=lambda one: f"#{one.key}")
        assert ["#c", "#d"] == [one.get("href") for one in parsed(both_linked).iter(f"{SVG}a")]


def test_calls_that_were_sent_apart_and_ran_beside_each_other_are_parallel() -> None:
    """The members of a group of a canvas; what follows one of them is not beside the others."""
    calls = [node("first", 0, 1, created=0, batch="f", order=2)]
    calls += [node(f"one:{i}", 2, 4 + i, created=1, batch=f"o{i}", order=3 + i) for i in (0, 1)]
    calls += [node("then", 4, 6, created=4, batch="t", order=5)]

    svg = run_graph(run(calls, program=node("flow", 0, 6, kind=StepKind.PROGRAM)), now=NOW)

    assert [one.text for one in of_class(svg, "fq-head")] == ["2 calls in parallel"]


def test_program_shows_batches_in_their_order_and_calls_in_between_as_a_sequence() -> None:
    calls = [node("plan", 0, 1, batch="1", order=2)]
    calls += [node(f"find:{i}", 1, 2, created=1, batch="2", order=2 + i) for i in (1, 2, 3)]
    calls += [
        node(f"draft:{i}", 3 + i, 4 + i, created=3 + i, batch=f"d{i}", order=9 + i)
        for i in range(5)
    ]
    calls += [node(f"side:{i}", 8, 9, created=8, batch=f"s{i}", order=20 + i) for i in range(5)]
    picture = run(calls, program=node("flow", 0, 9, kind=StepKind.PROGRAM), ended=9)

    svg = run_graph(picture, now=NOW)

    assert [one.text for one in of_class(svg, "fq-head")] == [
        "3 calls in parallel",
        "5 calls, one after another",
        "5 calls in parallel",  # each in a batch of its own
    ]
    tops = {
        (one.find(f"{SVG}title").text or "").partition("\n")[0]: float(  # type: ignore[union-attr]
            one.find(f"{SVG}rect").get("y") or 0  # type: ignore[union-attr]
        )
        for one in of_class(svg, "fq-node")
    }
    order = ["flow", "plan", "find:1", "draft:0", "draft:4"]
    assert [tops[key] for key in order] == sorted({tops[key] for key in order})


def test_calls_that_are_too_many_are_said_to_be_shown_by_name() -> None:
    calls = [node("draft", 0, 9, size=3000, counts={StepState.COMPLETED: 3000})]
    program = node("flow", 0, 9, kind=StepKind.PROGRAM)
    picture = run(calls, program=program, is_collapsed=True, total=3000, ended=9)

    for svg in both(picture):
        said = "".join(one.text or "" for one in parsed(svg).iter(f"{SVG}desc"))
        assert "the same name" in said
    assert "3,000 calls" in run_graph(picture, now=NOW)


def test_definition_shows_kinds_and_no_states() -> None:
    ref = {"$ref": "a"}
    spec = FlowSpec(
        name="demo",
        steps=(
            StepSpec(key="a", name="steps.fetch"),
            StepSpec(key="m", name="m", map=MapSpec(parameter="x", items=ref)),
            StepSpec(key="c", name="other", kind=StepKind.FLOW, when=ref, after=("m",)),
        ),
    )

    svg = flow_graph(spec, link=lambda name: f"/by-name/{name}")

    assert {"step · fetch", "map", "child flow · other", "when a"} <= set(texts(svg))
    assert len(of_class(svg, "fq-node", "fq-plain")) == 3
    assert [one.get("href") for one in parsed(svg).iter(f"{SVG}a")] == ["/by-name/other"]
    assert {"fq-data", "fq-condition", "fq-order"} <= set(re.findall(r"fq-[a-z]+", svg))


# --- times ----------------------------------------------------------------------------------------


def bars(svg: str, cls: str) -> list[tuple[float, float]]:
    """From where to where bars of a class go, in seconds of a run of ten."""
    ticks = of_class(svg, "fq-grid")
    first, second = (float((one.get("d") or "M0 ")[1:].split()[0]) for one in ticks[:2])
    step = 2.0
    found = []
    for one in of_class(svg, cls):
        if one.tag == f"{SVG}rect":
            x, width = float(one.get("x") or 0), float(one.get("width") or 0)
            scale = step / (second - first)
            found.append((round((x - first) * scale, 1), round((x + width - first) * scale, 1)))
    return found


def test_each_attempt_has_a_bar_and_waiting_is_light() -> None:
    step = node(
        "a",
        6,
        8,
        attempts=3,
        past=(past(1, 1, 2), past(2, 3, 4, AttemptEnd.LOST)),
    )

    svg = run_gantt(run([step], ended=10), now=NOW)

    assert bars(svg, "fq-queued") == [(0, 1)]
    assert bars(svg, "fq-bar") == [(1, 2), (3, 4), (6, 8)]
    assert bars(svg, "fq-pause") == [(2, 3), (4, 6)]
    assert [one.text for one in of_class(svg, "fq-in")] == ["✗", "?"]
    assert bars(svg, "fq-lost") == [(3, 4)]


def test_running_bar_ends_now() -> None:
    nodes = [
        node("a", 1, None, StepState.RUNNING),
        node("b", 1, None, StepState.RETRYING, past=(past(1, 1, 3),)),
        node("c", None, None, StepState.QUEUED),
        node("d", 2, None, StepState.QUEUED, past=(past(1, 2, 3, AttemptEnd.RELEASED),)),
    ]

    svg = run_gantt(run(nodes, (), RunState.RUNNING), now=NOW)

    assert bars(svg, "fq-running") == [(1, 10)]
    assert bars(svg, "fq-failed") == [(1, 3)]
    assert bars(svg, "fq-given_back") == [(2, 3)]
    assert bars(svg, "fq-queued") == [(0, 1), (0, 1), (0, 10), (0, 2)]
    assert bars(svg, "fq-pause") == [(3, 10), (3, 10)]
    assert len(of_class(svg, "fq-now")) == 1


def test_map_is_one_row_with_how_many_ended_when() -> None:
    crawl = node(
        "crawl",
        2,
        8,
        is_map=True,
        size=100,
        counts={StepState.COMPLETED: 99, StepState.FAILED: 1},
        ended_in={2: 30, 4: 60, 7: 10},
        failed_in={4: 1},
    )

    svg = run_gantt(run([crawl], ended=10), now=NOW)

    assert bars(svg, "fq-span") == [(2, 8)]
    (done,) = of_class(svg, "fq-dense", "fq-completed")
    tall = [float(one) for one in re.findall(r"v-([\d.]+)", done.get("d") or "")]
    assert tall[1] == max(tall) == pytest.approx(2 * tall[0], rel=0.02)
    assert len(of_class(svg, "fq-dense", "fq-failed")) == 1
    assert "100 of 100" in texts(svg)


def test_critical_path_is_marked_and_described() -> None:
    svg = run_gantt(
        run([node("a", 0, 1), node("b", 1, 3), node("c", 1, 9)], ("a>b", "a>c"), ended=9), now=NOW
    )

    assert len(of_class(svg, "fq-row", "fq-critical")) == 2
    assert "The critical path: a, c." in svg


def test_rows_beyond_the_limit_are_counted_and_failures_are_shown() -> None:
    nodes = [node(f"s{i}", i / 100, i / 100 + 0.005, order=i) for i in range(500)]
    nodes[400] = node("broken", 4, 4.001, StepState.FAILED, order=400)

    svg = run_gantt(run(nodes, ended=10), now=NOW, most_rows=20)

    shown = [one.text for one in of_class(svg, "fq-key")]
    assert len(shown) == 20
    assert "broken" in shown
    assert "… 480 more" in texts(svg)


@pytest.mark.parametrize(
    "seconds, labels",
    [
        (0.004, ["0", "1 ms"]),
        (7, ["0", "1 s", "2 s"]),
        (290, ["0", "1 min", "2 min"]),
        (5400, ["0", "15 min", "30 min"]),
        (200_000, ["0", "12 h", "1 d"]),
        (40_000_000, ["0", "30 d", "60 d"]),
    ],
)
def test_ticks_are_round_and_few(seconds: float, labels: list[str]) -> None:
    picture = run([node("a", 0, seconds)], ended=seconds)

    svg = run_gantt(picture, now=at(0) + timedelta(seconds=seconds))

    ticks = [one.text for one in of_class(svg, "fq-tick")]
    assert ticks[: len(labels)] == labels
    assert len(ticks) <= 17


def test_two_runs_at_the_very_beginning_have_charts() -> None:
    for picture in (run([]), run([node("a", 0, 0)], ended=0), run([], (), RunState.PENDING)):
        for svg in both(picture):
            parsed(svg)


def test_pictures_stay_small() -> None:
    counts = {StepState.COMPLETED: 10_000}
    ended = dict.fromkeys(range(200), 50)
    crawl = node("crawl", 0, 10, is_map=True, size=10_000, counts=counts, ended_in=ended)
    many = [node(f"step_{i}", i / 60, i / 60 + 1, order=i) for i in range(600)]
    edges = [f"step_{i // 2}>step_{i}" for i in range(1, 600)]

    assert all(len(svg) < 30_000 for svg in both(run([crawl], ended=10, parts=200)))
    assert all(len(svg) < 600_000 for svg in both(run(many, edges, ended=10)))


def test_shortened_text_is_as_wide_as_it_may_be() -> None:
    assert shortened("abcdeg", 6) == "abcdeg"
    assert shortened("abcdegh", 6) == "abcde…"
    assert shortened("illicit", 6) == "illicit"
    assert shortened("WWWW", 6) == "WW…"
    assert shortened("名前名前", 8) == "名前名前"
    assert shortened("名前名前名", 8) == "名前名…"
    assert shortened("", 3) == ""


def test_axis_that_stays_in_sight_is_that_of_the_chart() -> None:
    picture = run([node("a", 0, 7)], ended=7)

    axis, chart = (draw(picture, now=NOW) for draw in (gantt_axis, run_gantt))

    for what in ("fq-tick", "fq-grid"):
        ticks = [[(one.text, one.get("x")) for one in of_class(svg, what)] for svg in (axis, chart)]
        assert ticks[0] == ticks[1]
    assert 'aria-hidden="true"' in axis
