"""Documents of playbooks as hypothesis draws them: the grammar, with all its sugar.

`documents()` draws any valid document. With `runnable` its tools need nothing outside (`noop`, and
`python` of one line), its transitions go forwards and its pages end, so that every run ends soon.
"""

from typing import Any

from hypothesis import strategies as st

Json = Any
Drawn = st.SearchStrategy[Any]

NAMES = ("a", "b", "load data", "größe")
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.sampled_from(["", "x", "yes", "012", "1e3", "a: b"]),
)
TEMPLATES = st.sampled_from(
    ["{{ args }}", "{{ workload.n }}", "n={{ workload.n + 1 }}", "{{ ctx.seen | default(0) }}"]
)
VALUES = st.recursive(
    LEAVES | TEMPLATES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pq"), inner, max_size=2)
    ),
    max_leaves=4,
)
ARGS = st.dictionaries(st.sampled_from(["n", "rows"]), VALUES, max_size=2)
CONDITIONS = st.sampled_from(
    [
        "{{ event.name == 'call.done' }}",
        "event.name == 'step.exit'",
        "event.name == 'step.enter' or event.name == 'call.done'",
        "{{ result is defined }}",
        "response.rows",
        "{{ error is defined }}",
        "workload.n > 2",
        "nobody.knows",
    ]
)
#: A condition that holds for the first pages only.
FIRST_PAGES = "event.name == 'call.done' and error is not defined and event.page < 3"


def _maybe(**keys: Drawn) -> Drawn:
    return st.fixed_dictionaries({}, optional=keys)


def tools(*, runnable: bool) -> Drawn:
    """Draw a tool."""
    noop = st.fixed_dictionaries({"kind": st.just("noop")}, optional={"args": ARGS})
    codes = ["result = 1", "def main(n=0):\n    return {'n': n}\n"]
    codes += ["result = {'rows': [1, 2]}", "raise ValueError('no')"]
    python = st.builds(lambda code: {"kind": "python", "code": code}, st.sampled_from(codes))
    if runnable:
        return noop | python
    http = st.fixed_dictionaries(
        {"kind": st.just("http")},
        optional={"params": ARGS, "method": st.sampled_from(["GET", "post"]), "body": VALUES},
    ).flatmap(
        lambda tool: st.sampled_from(
            [{**tool, "url": "{{ workload.url }}"}, {**tool, "endpoint": "x"}]
        )
    )
    sql = st.sampled_from(
        [{"kind": "sqlite", "query": "select 1"}, {"kind": "duckdb", "command": "x"}]
    )
    return noop | python | http | sql


def _transitions(targets: tuple[str, ...]) -> Drawn:
    name = st.sampled_from(targets)
    target = st.fixed_dictionaries({"step": name}, optional={"args": ARGS})
    return name | target | st.lists(name | target, min_size=1, max_size=2)


def _thens(targets: tuple[str, ...]) -> Drawn:
    """Draw what ends a call: no pages, no retries."""
    collect = st.sampled_from(
        [{"from": "response", "into": "seen"}, {"path": "rows", "strategy": "extend"}]
    )
    actions = {
        "set": ARGS
        | st.just("{{ ctx }}")
        | st.builds(lambda flags: {"ctx": {}, "flags": flags}, ARGS),
        "collect": collect,
        "result": VALUES | st.just({"from": "ctx.seen"}),
        "sink": st.builds(lambda args: {"tool": {"kind": "noop"}, "args": args}, ARGS),
        "next": _transitions(targets),
        "fail": st.just("no") | _maybe(message=VALUES, fail_workflow=st.booleans()),
        "skip": st.just(True) | _maybe(reason=VALUES),
    }
    one = st.sampled_from(list(actions)).flatmap(
        lambda name: st.builds(lambda value: {name: value}, actions[name])
    )
    many = _maybe(**actions).filter(bool)
    return many | st.lists(one, min_size=1, max_size=2)


def _cases(targets: tuple[str, ...]) -> Drawn:
    plain = st.fixed_dictionaries({"when": CONDITIONS, "then": _thens(targets)}).filter(
        _is_sensible
    )
    call = st.just({"call": {"params": {"page": "{{ event.page + 1 }}"}}})
    retry = st.just({"retry": {"max_attempts": 2, "initial_delay": 0}})
    page = st.fixed_dictionaries({"when": st.just(FIRST_PAGES), "then": call})
    again = st.fixed_dictionaries({"when": st.just("error is defined"), "then": retry})
    return st.lists(plain | page | again, max_size=3)


def _is_sensible(case: Json) -> bool:
    """Return whether no action is refused before a call."""
    return "step.enter" not in case["when"] or "call.done" in case["when"]


LOOPS = st.fixed_dictionaries(
    {
        "in": st.lists(LEAVES, max_size=3) | st.just("{{ workload.numbers }}"),
        "iterator": st.sampled_from(["item", "city"]),
    },
    optional={
        "mode": st.sampled_from(["sequential", "parallel", "async"]),
        "max_concurrency": st.integers(1, 3),
        "on_error": st.sampled_from(["fail", "collect"]),
    },
)
RETRIES = (
    st.booleans()
    | st.integers(1, 2)
    | _maybe(
        max_attempts=st.integers(1, 2),
        initial_delay=st.just(0),
        retry_when=CONDITIONS,
        jitter=st.booleans(),
    )
)


@st.composite
def documents(draw: st.DrawFn, *, runnable: bool = False) -> dict[str, Json]:
    """Draw a valid document, as plain data."""
    names = ["start", *draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))]
    has_end = draw(st.booleans())
    steps = []
    for at, name in enumerate(names):
        targets = (*(names[at + 1 :] if runnable else names), "end")
        optional = {
            "desc": st.just("what it is for"),
            "args": ARGS,
            "loop": LOOPS,
            "case": _cases(targets),
            "next": _transitions(targets),
            "vars": ARGS,
            "join": st.sampled_from(["each", "all"]),
            "retry": RETRIES,
            "timeout": st.just(60),
            "result": VALUES,
            "sink": st.just({"tool": {"kind": "noop"}}),
        }
        tool = draw(tools(runnable=runnable))
        steps.append({"step": name, "tool": tool, **draw(_maybe(**optional))})
    if has_end:
        steps.append({"step": "end", "tool": {"kind": "noop"}})
    return {
        "apiVersion": "noetl.io/v2",
        "kind": "Playbook",
        "metadata": {
            "name": "drawn",
            **draw(_maybe(path=st.just("tests/drawn"), version=st.just(2))),
        },
        "workload": {"n": 3, "numbers": [1, 2], "url": "http://localhost:9"},
        "workflow": steps,
    }
