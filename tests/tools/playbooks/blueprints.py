"""Blueprints for tests, written short: `blueprint("s>a a>e", a={"type": "step", …})`."""

from typing import Any

from hypothesis import strategies as st

from flowq.playbooks.blueprints.models import Blueprint, read

Json = Any

#: What nodes of a type need.
_CONFIGS: dict[str, Json] = {
    "step": {"slug": "tests.step"},
    "tool": {"tool": {"kind": "noop"}},
    "model": {"prompt": "Say hello."},
    "variable": {"name": "v", "value": 1},
    "delay": {"seconds": 1},
}
_IDS = {"s": "start", "e": "end"}


def node(name: str, kind: str = "", /, **config: Json) -> dict[str, Json]:
    """Return a node; `s` is a start, `e` an end, others are steps unless it is said."""
    kind = kind or _IDS.get(name, "step")
    made = {**_CONFIGS.get(kind, {}), **config}
    return {"id": name, "type": kind, **({"config": made} if made else {})}


def edges(text: str) -> list[dict[str, Json]]:
    """Return edges: `a>b`, or `a>b:condition` with `_` for a space."""
    made = []
    for one in text.split():
        ways, _, condition = one.partition(":")
        source, _, target = ways.partition(">")
        more = {"condition": condition.replace("_", " ")} if condition else {}
        made.append({"source": source, "target": target, **more})
    return made


def data(text: str, **nodes: dict[str, Json]) -> dict[str, Json]:
    """Return a blueprint with these edges; nodes that are not given are made by their ids."""
    between = edges(text)
    names = dict.fromkeys(name for one in between for name in (one["source"], one["target"]))
    return {
        "name": "test",
        "nodes": [nodes.get(name) or node(name) for name in dict.fromkeys([*names, *nodes])],
        "edges": between,
    }


def blueprint(text: str, **nodes: dict[str, Json]) -> Blueprint:
    """As `data`, read."""
    return read(data(text, **nodes))


# --- any blueprint --------------------------------------------------------------------------------

_TEXTS = st.sampled_from(
    ["true", "false", "continue", "exit", "else", "variable a equals 1", "a.b > 2", "{{", "(", ""]
)
_VALUES = st.sampled_from([None, 1, "x", "{{ ctx.a }}", "{{ nope", {"from": "ctx"}, [1]])
_IDENTITY = st.sampled_from(["a", "b", "c", "d-1", 'q"', "start", "end", "s", " "])
_OPTIONS: dict[str, st.SearchStrategy[Json]] = {
    "start": st.fixed_dictionaries({}, optional={"inputs": st.just({"a": 1})}),
    "end": st.fixed_dictionaries({}, optional={"output": _VALUES}),
    "step": st.fixed_dictionaries(
        {"slug": st.just("tests.step")},
        optional={"args": st.just({"a": "{{ a }}"}), "output": st.just("o"), "retry": _VALUES},
    ),
    "tool": st.sampled_from([{"slug": "x"}, {"tool": {"kind": "noop"}}, {"tool": {"kind": "?"}}]),
    "model": st.sampled_from([{"prompt": "p"}, {"messages": []}, {"prompt": "{{"}]),
    "memory": st.just({}),
    "variable": st.builds(lambda value: {"name": "v", "value": value}, _VALUES),
    "conditional": st.fixed_dictionaries({}, optional={"condition": _TEXTS.filter(bool)}),
    "loop": st.fixed_dictionaries(
        {}, optional={"max_iterations": st.integers(0, 3), "condition": _TEXTS.filter(bool)}
    ),
    "delay": st.builds(lambda value: {"seconds": value}, st.sampled_from([0, -1, "{{ a }}", True])),
    "error_handler": st.just({}),
}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Json]:
    """Draw a blueprint of the right shape; most cannot run."""
    names = draw(st.lists(_IDENTITY, max_size=6, unique=draw(st.booleans())))
    kinds = st.sampled_from([*_OPTIONS])
    nodes = []
    for name in names:
        kind = name if name in ("start", "end") else _IDS.get(name) or draw(kinds)
        nodes.append({"id": name, "type": kind, "config": draw(_OPTIONS[kind])})
    ends = st.sampled_from([*names, "nobody"])
    edge = st.fixed_dictionaries({"source": ends, "target": ends}, optional={"condition": _TEXTS})
    return {"name": "a/b", "nodes": nodes, "edges": draw(st.lists(edge, max_size=9))}


@st.composite
def runnable(draw: st.DrawFn) -> dict[str, Json]:
    """Draw a blueprint that runs: layers of nodes, with edges forwards."""
    count = draw(st.integers(1, 6))
    kinds = st.sampled_from(["step", "tool", "variable", "delay", "conditional", "model"])
    nodes, between = [node("s")], []
    for at in range(count):
        kind = draw(kinds)
        nodes.append(node(f"n{at}", kind))
    names = [one["id"] for one in nodes]
    for at, target in enumerate(names[1:], start=1):
        sources = draw(st.lists(st.sampled_from(names[:at]), min_size=1, max_size=3, unique=True))
        for source in sources:
            is_choice = nodes[names.index(source)]["type"] == "conditional"
            more = {"condition": draw(st.sampled_from(["variable v equals 1", "else"]))}
            between.append({"source": source, "target": target, **(more if is_choice else {})})
    for one in nodes:
        if one["type"] == "conditional" and not any(e["source"] == one["id"] for e in between):
            one |= {"type": "variable", "config": {"name": "v", "value": 1}}
    return {"name": "runs", "nodes": nodes, "edges": between}
