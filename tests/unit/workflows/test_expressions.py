"""Format 2: expressions are translated, refused with their column, and never evaluated."""

import builtins
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.workflows import InvalidWorkflow, Workflow
from flowq.workflows.document.expressions import translate
from tests.tools.workflows.samples import define_text


def is_data(slug: str, name: str) -> bool:
    return name in ("text", "words", "value")


def steps_of(*expressions: str) -> list[dict[str, Any]]:
    steps = [{"name": f"s{at}", "expression": one} for at, one in enumerate(expressions)]
    found: list[dict[str, Any]] = translate({"name": "x", "steps": steps}, is_data)["steps"]
    return found


def last(*expressions: str) -> dict[str, Any]:
    found = steps_of("read()", *expressions)[-1]
    del found["id"]
    return found


@pytest.mark.parametrize(
    "expression, fields",
    [
        ("5", {"type_slug": "flowq.value", "inputs": {"value": {"literal": 5}}}),
        ("=-1.5", {"type_slug": "flowq.value", "inputs": {"value": {"literal": -1.5}}}),
        ("[1, ('a', None), {'b': True}]", {"type_slug": "flowq.value",
         "inputs": {"value": {"literal": [1, ["a", None], {"b": True}]}}}),
        ("s0", {"type_slug": "flowq.value", "inputs": {"value": {"step": "s0"}}}),
        ("step1.field['x y'][0]", {"type_slug": "flowq.value",
         "inputs": {"value": {"step": "s0", "path": ["field", "x y", 0]}}}),
        ("step1[-1]", {"type_slug": "flowq.value",
         "inputs": {"value": {"step": "s0", "path": [-1]}}}),
        ('s0[["a", "b"]]', {"type_slug": "flowq.value",
         "inputs": {"value": {"step": "s0", "path": [["a", "b"]]}}}),
        ("tokenize()", {"type_slug": "tokenize", "config": {}, "inputs": {}}),
        (" = tokenize(lower=True)",
         {"type_slug": "tokenize", "config": {"lower": True}, "inputs": {}}),
        ("tokenize(text='a b')",
         {"type_slug": "tokenize", "config": {}, "inputs": {"text": {"literal": "a b"}}}),
        ("tokenize(text=step1.name)", {"type_slug": "tokenize", "config": {},
         "inputs": {"text": {"step": "s0", "path": ["name"]}}}),
        ("tokenize(text='read_output')",
         {"type_slug": "tokenize", "config": {}, "inputs": {"text": {"step": "s0"}}}),
        ("tokenize(text='other_output')",
         {"type_slug": "tokenize", "config": {}, "inputs": {"text": {"literal": "other_output"}}}),
        ("a.b(x=1)", {"type_slug": "a.b", "config": {"x": 1}, "inputs": {}}),
        ("a.b.map()", {"type_slug": "a.b", "config": {}, "inputs": {},
                       "execution_mode": "row_iterative", "geometry": "apply"}),
        ("a.source()", {"type_slug": "a", "config": {}, "inputs": {}}),
        ("a.rowmap()", {"type_slug": "a", "config": {}, "inputs": {},
                        "execution_mode": "row_iterative", "geometry": "apply"}),
        ("a.expand()", {"type_slug": "a", "config": {}, "inputs": {}, "geometry": "expand"}),
        ("a.filter()", {"type_slug": "a", "config": {}, "inputs": {}, "geometry": "filter"}),
        ("a.collapse()", {"type_slug": "a", "config": {}, "inputs": {}, "geometry": "reduce"}),
        ("a.reduce()", {"type_slug": "a", "config": {}, "inputs": {}, "geometry": "reduce"}),
        ("a.dataframe()",
         {"type_slug": "a", "config": {}, "inputs": {}, "execution_mode": "batch"}),
        ("a.vectorize()", {"type_slug": "a", "config": {}, "inputs": {}, "geometry": "vectorize"}),
    ],
)  # fmt: skip
def test_an_expression_means_a_step(expression: str, fields: dict[str, Any]) -> None:
    assert fields == last(expression)


@pytest.mark.parametrize(
    "expression, message",
    [
        ("", "invalid syntax"),
        ("a(", "column 2: '(' was never closed"),
        ("class", "invalid syntax"),
        ("a b", "column "),
        ("s0 > 1", "column 1: a comparison is not possible"),
        ("a(x=s0 > 1)", "column 5: a comparison is not possible"),
        ("= a(x=1 + 2)", "column 7: arithmetic is not possible"),
        ("s0[1:2]", "column 4: a slice is not possible here"),
        ("s0[True]", "is not possible here"),
        ("s0[[]]", "is not possible here"),
        ("s0[s0]", "Name is not possible"),
        ("a(1)", "column 3: an argument has no name"),
        ("a(**s0)", "** is not possible"),
        ("a(x=1, x=2)", "x is given twice"),
        ("a(x=b())", "column 5: a call inside of an expression is not possible"),
        ("a()()", "only a step type can be called"),
        ("(lambda: 1)()", "only a step type can be called"),
        ("lambda: 1", "a lambda is not possible"),
        ("f'{s0}'", "an f-string is not possible"),
        ("s0.__class__", ".__class__ is not possible"),
        ("a(x=s0.__class__.__mro__)", "is not possible"),
        ("a.b().c", "a call inside of an expression is not possible"),
        ("b'x'", "a bytes is no JSON"),
        ("{1: 2}", "a dict is no JSON"),
        ("...", "a ellipsis is no JSON"),
        ("[x for x in s0]", "ListComp is not possible"),
        ("x := 1", "invalid syntax"),
        ("a\0b", "null bytes"),
        ("[" * 3000 + "]" * 0, "column "),
        ("(" * 300 + "1" + ")" * 300, "too many nested parentheses"),
        ("-" * 4000 + "1", ""),
        ("x" * 4097, "it has 4,097 characters, the limit is 4,096"),
    ],
)
def test_other_syntax_is_refused(expression: str, message: str) -> None:
    with pytest.raises(InvalidWorkflow) as refused:
        steps_of("read()", expression)
    [problem] = refused.value.problems
    assert ("s1", 2, "expression") == (problem.step, problem.place, problem.where)
    assert message in problem.text


@pytest.mark.parametrize("expression", [None, 7, ["a()"]])
def test_an_expression_is_text(expression: Any) -> None:
    with pytest.raises(
        InvalidWorkflow, match=r"step 'step1': expression: it is (missing|not text)"
    ):
        translate({"name": "x", "steps": [{"expression": expression}]}, is_data)
    with pytest.raises(InvalidWorkflow, match="steps: it is not a list of objects"):
        translate({"name": "x", "steps": expression or 1}, is_data)


def test_code_is_an_unknown_step_type() -> None:
    define_text()
    steps = [{"name": "x", "expression": "__import__(name='os')"}]
    with pytest.raises(InvalidWorkflow, match="'__import__' is not found in the registry"):
        Workflow.from_dict({"format_version": 2, "name": "x", "steps": steps}, check=True)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(InvalidWorkflow) as refused:
        steps_of("a(1)", "b()", "c(")
    assert [1, 3] == [problem.place for problem in refused.value.problems]


def test_labels_and_unknown_keys_are_kept() -> None:
    steps = [{"name": "a", "expression": "1", "meta": {"label": "One", "x": 2}, "colour": "red"}]
    found = Workflow.from_dict({"format_version": 2, "name": "w", "meta": {"y": 1}, "steps": steps})

    assert ("One", {"label": "One", "x": 2}, {"colour": "red"}) == (
        found.steps[0].label, found.steps[0].meta, found.steps[0].model_extra
    )  # fmt: skip
    assert {"y": 1} == found.meta
    assert found == Workflow.from_json(found.to_json())


PIECES = st.sampled_from(
    [
        *(
            "s0",
            "step1",
            "canary",
            "canary()",
            "a",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ".",
            ",",
            "=",
            "x=",
        ),
        *(
            "'t'",
            '"""',
            "f'{canary()}'",
            "1",
            "-",
            "+",
            "*",
            "**",
            "//",
            " if ",
            " else ",
            "lambda:",
        ),
        *(
            " for x in ",
            " and ",
            " not ",
            "await ",
            "yield ",
            ":=",
            ":",
            "__class__",
            "\\",
            "#",
            "\n",
        ),
        *(
            "tokenize(text=",
            "__import__('os').system('true')",
            "'tokenize_output'",
            "0x",
            "1j",
            "b''",
        ),
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60))
def test_nothing_is_ever_evaluated(expression: str) -> None:
    """Whatever is written: it is translated or refused, and no code of it runs."""
    ran: list[int] = []
    builtins.canary = lambda *_: ran.append(1)  # type: ignore[attr-defined]
    try:
        steps_of("read()", expression)
    except InvalidWorkflow:
        return
    finally:
        del builtins.canary  # type: ignore[attr-defined]
        assert [] == ran
