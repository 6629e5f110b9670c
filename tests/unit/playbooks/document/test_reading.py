"""YAML is read by the core schema of 1.2, with places and limits (specification 2.1)."""

import pytest

from flowq.playbooks.document.problems import InvalidPlaybook, mark_of
from flowq.playbooks.document.reading import MAX_BYTES, MAX_DEPTH, read
from flowq.playbooks.document.writing import as_yaml


def refusal(source: str | bytes) -> str:
    """Return the first problem of a text that cannot be read, or can only in part."""
    try:
        found = read(source).problems
    except InvalidPlaybook as error:
        found = error.problems
    return str(found[0])


@pytest.mark.parametrize(
    "text, value",
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-0", 0),
        ("0x1f", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("yes", "yes"),
        ("off", "off"),
        ("012", "012"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("! 12", "12"),
        ("{x: [1, {y: 2}]}", {"x": [1, {"y": 2}]}),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    done = read(f"a: {text}")

    assert {"a": value} == done.data
    assert type(value) is type(done.data["a"])
    assert () == done.problems


@pytest.mark.parametrize("text, value", [("yes", True), ("Off", False), ("012", "012")])
def test_compat_has_the_booleans_of_yaml_1_1(text: str, value: object) -> None:
    assert {"a": value} == read(f"a: {text}", compat=True).data


def test_keys_are_texts() -> None:
    assert {"1": 1, "true": 2, "~": 3} == read("1: 1\ntrue: 2\n~: 3").data


def test_merge_keys_are_honoured_and_what_is_written_counts() -> None:
    source = "base: &b {x: 1, y: 1}\nmore: &m {x: 9, z: 3}\nall: {<<: [*b, *m], y: 2}\n"

    assert {"y": 2, "x": 1, "z": 3} == read(source).data["all"]
    assert {"<<": 1} == read("'<<': 1").data


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_may_have_a_byte_order_mark(encoding: str) -> None:
    assert {"ä": "ö"} == read("ä: ö".encode(encoding)).data


def test_json_is_yaml() -> None:
    assert {"a": [1, None, "\n"]} == read('{"a": [1, null, "\\n"]}').data


def test_every_value_has_its_place() -> None:
    places = read("a:\n  - x: 1\n    yy: [2,  3]\n").places

    assert (2, 13) == mark_of(places, ("a", 0, "yy", 1))
    assert (2, 8) == mark_of(places, ("a", 0, "yy"))
    assert (2, 4) == mark_of(places, ("a", 0, "yy"), key=True)
    assert (1, 4) == mark_of(places, ("a", 0, "nothing"))


@pytest.mark.parametrize(
    "source, said",
    [
        ("", "1:1: the document is empty"),
        ("# nothing\n", "1:1: the document is empty"),
        ("a: 1\na: 2", "2:1: found duplicate key 'a'; the first is at 1:1"),
        ("a: 1\n--- \nb: 2", "2:1: a file holds one playbook"),
        ("? [a]\n: 1", "1:3: a key must be a text"),
        ("a: !!python/object:os.system 1", "1:4: the tag !!python/object:os.system is not"),
        ("a: !mine {}", "1:4: the tag !mine is not supported"),
        ("a: .inf", "1:4: the number .inf cannot be written in JSON"),
        ("a: -.Inf", "1:4: the number -.Inf cannot"),
        ("a: .nan", "1:4: the number .nan cannot"),
        ("a: 1e999", "1:4: the number 1e999 cannot"),
        (f"a: {'9' * 5000}", "1:4: the number has more than 4,000 digits"),
        ("a: &x [*x]", "1:8: the alias 'x' stands inside of what it names"),
        ("a: &x {<<: *x}", "1:12: the alias 'x' stands inside"),
        ("a: *nobody", "1:4: the anchor 'nobody' is not defined above"),
        ("a: {<<: 1}", "1:5: '<<' merges a mapping"),
        ('a: "\\0"', "1:4: the text holds the character NUL"),
        ('a: "\\ud800"', "1:7: Invalid YAML: found invalid Unicode"),
        ("a: 1\n\x07", "2:1: Invalid YAML: the character U+0007 may not stand in YAML"),
        ("a: \ud800", "1:4: Invalid YAML: the character U+D800"),
        (b"a: 1\nb: \xff", "2:4: Invalid YAML: the text is not UTF-8"),
        ("a: b: c", "1:5: Invalid YAML: mapping values are not allowed"),
        ("\ta: 1", "1:1: Invalid YAML: found character that cannot start any token"),
        ("[" * 100_000, "1:"),
        ("- " * 100_000, f"1:{2 * MAX_DEPTH + 1}: the document nests deeper than 64 levels"),
        ("{a: " * 100, "1:257: the document nests deeper than 64 levels"),
        ("x" * (MAX_BYTES + 1), "1:1: the document has 1,048,577 characters; the limit is"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_cannot_be_read_is_refused_with_its_place(source: str | bytes, said: str) -> None:
    assert refusal(source).startswith(said)


def test_of_equal_keys_the_last_counts_in_compat() -> None:
    done = read("a: 1\na: 2", compat=True)

    assert ({"a": 2}, ()) == (done.data, done.problems)


@pytest.mark.parametrize(
    "first, item",
    [("[x, x]", "[{}]"), (f"'{'x' * 1000}'", "[{}]"), ("{k: x}", "{{k: [{}]}}")],
)
def test_a_bomb_of_aliases_is_refused(first: str, item: str) -> None:
    lines = [f"a0: &a0 {first}"]
    for level in range(1, 30):
        inner = item.format(", ".join([f"*a{level - 1}"] * 9))
        lines.append(f"a{level}: &a{level} {inner}")

    assert "after its aliases are followed" in refusal("\n".join(lines))


def test_aliases_may_not_nest_deeper_than_what_is_written() -> None:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 70)]

    assert "nests deeper than 64 levels" in refusal("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "012", "1e3", "0o7", "2020-01-01", "~", "", "<<", "=", "-", "'", '"', "# a"),
        *(
            " a",
            "a\n",
            "a\n\nb\n",
            "\ta\nb",
            "a \nb",
            "\n",
            "é\u2028\n",
            "\u0085\n",
            "a: b",
            "\x07",
        ),
        "{{ a }}",
    ],
)
def test_a_written_text_is_read_as_it_was(text: str) -> None:
    assert {"a": text, "b": [text]} == read(as_yaml({"a": text, "b": [text]})).data
    assert {text: 1} == read(as_yaml({text: 1})).data
