"""Documents that do much, as hypothesis draws them: some 5 to 40 calls, many of them at once.

`start` leads to two branches, which lead to others and to a join. Each step is a loop (in both
modes, with and without entries for its items), pages, a call that fails and is repeated, caught or
neither, a child playbook, or one plain call; it may have a sink beside it. All end: transitions go
forwards. `check_any_order` runs one in a random order and checks what must hold of each.
"""

from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from flowq.playbooks.building import Playbook
from flowq.playbooks.running.stored import find
from flowq.testing import assert_deterministic
from tests.tools.playbooks.strategies import FIRST_PAGES, Drawn, Json
from tests.tools.playbooks.watching import watched

_BRANCH: Final = st.sampled_from([["c"], ["join"], ["c", "join"], ["end"]])
#: What each step leads to.
_FOLLOW: Final[dict[str, Drawn]] = {
    "start": st.just(["a", "b"]),
    "a": _BRANCH,
    "b": _BRANCH,
    "c": st.just("join"),
    "join": st.just("end"),
}
_PLAIN: Final = {"kind": "python", "code": "result = {'rows': [1, 2]}"}
_FAILS: Final = {"kind": "python", "code": "raise ValueError('no')"}
_ITEM: Final = {"kind": "python", "code": "result = [item, at]"}
_ODD_FAILS: Final = {
    "kind": "python",
    "code": "result = [item, at]\nif item % 2:\n    raise OSError",
}
_CHILD: Final = Playbook.checked(
    {
        "apiVersion": "noetl.io/v2",
        "kind": "Playbook",
        "metadata": {"name": "child"},
        "workflow": [
            {
                "step": "start",
                "tool": _ITEM,
                "args": {"item": "{{ item }}", "at": "{{ loop_index }}"},
                "loop": {"in": "{{ workload.numbers }}", "iterator": "item"},
            }
        ],
    }
)[0]

_AGAIN: Final = st.fixed_dictionaries(
    {"max_attempts": st.integers(2, 3), "initial_delay": st.sampled_from([0, 0.5])}
)
_CAUGHT: Final = {
    "when": "event.name == 'call.done' and error is defined",
    "then": {"set": {"ctx": {"caught": "{{ error.type }}"}}, "next": "end"},
}
_PAGE: Final = {
    "when": FIRST_PAGES,
    "then": {
        "collect": {"from": "response.rows", "into": "rows", "mode": "extend"},
        "call": {"args": {"page": "{{ event.page + 1 }}"}},
    },
}
_SINK: Final = {
    "when": "event.name == 'call.done' and error is not defined",
    "then": {"sink": {"tool": {"kind": "noop"}, "args": {"seen": "{{ ctx }}"}}},
}


@st.composite
def _repeated(draw: st.DrawFn) -> Json:
    """Draw a call that fails each time; four of five are caught in the end."""
    retry = {"when": "error is defined", "then": {"retry": draw(_AGAIN)}}
    return {"tool": _FAILS, "case": [retry, *([_CAUGHT] if draw(st.integers(0, 4)) else [])]}


@st.composite
def _loops(draw: st.DrawFn) -> Json:
    """Draw a loop; with `case` each item is a call of the program, else all are one map."""
    loop = {
        "in": draw(st.lists(st.integers(0, 9), max_size=4)),
        "iterator": "item",
        "mode": draw(st.sampled_from(["sequential", "parallel"])),
        "max_concurrency": draw(st.integers(1, 3)),
    }
    step = {"tool": _ITEM, "args": {"item": "{{ item }}", "at": "{{ loop_index }}"}, "loop": loop}
    case: list[Json] = []
    if draw(st.booleans()):
        step["tool"] = _ODD_FAILS
        loop["on_error"] = "collect"
        if draw(st.booleans()):
            case.append({"when": "error is defined", "then": {"retry": draw(_AGAIN)}})
    if draw(st.booleans()):
        into = {"from": "response", "into": "items", "mode": "append"}
        case.append({"when": "event.name == 'call.done'", "then": {"collect": into}})
    return {**step, "case": case}


_STEPS: Final[Drawn] = st.one_of(
    st.just({"tool": _PLAIN}),
    st.just({"tool": _PLAIN, "case": [_SINK]}),
    st.just({"tool": _PLAIN, "case": [_PAGE]}),
    st.just({"tool": _FAILS, "retry": {"max_attempts": 2, "initial_delay": 0}, "case": [_CAUGHT]}),
    st.just({"tool": {"kind": "playbook", "path": "tests/child", "args": {"numbers": [1, 2]}}}),
    _repeated(),
    _loops(),
    _loops(),
)


@st.composite
def busy_documents(draw: st.DrawFn) -> dict[str, Json]:
    """Draw a valid document, as plain data."""
    steps: list[Json] = []
    for name, follow in _FOLLOW.items():
        step = {"step": name, **draw(_STEPS), "next": draw(follow)}
        if name == "join":
            step["join"] = draw(st.sampled_from(["all", "each"]))
        steps.append(step)
    return {
        "apiVersion": "noetl.io/v2",
        "kind": "Playbook",
        "metadata": {"name": "busy", "path": "tests/busy"},
        "workflow": [*steps, {"step": "end", "tool": {"kind": "noop"}}],
    }


def check_any_order(document: dict[str, Json], seed: int) -> dict[str, Any]:
    """Run a document, with calls ending in the order that a seed makes.

    Returns:
        How many `runs` there were, and `events` in their logs.

    Raises:
        AssertionError: a replay from some prefix of its history decides something else, or its log
            does not begin with what a reader saw while it ran.
    """
    flow = Playbook.checked(document)[0].flow
    fakes = {find: lambda path, version=None: _CHILD.to_dict()}
    with watched(Random(seed).randrange) as logs:
        assert_deterministic(flow, {"payload": {}}, fakes=fakes)
    return {"runs": len(logs), "events": sum(map(len, logs.values()))}
