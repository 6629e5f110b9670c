"""Text of others acts on no terminal and no log, whatever prints it."""

import ast
import io
import json
import logging
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery.utils.log import ColorFormatter
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from flowq.core.errors import InvalidInput, RunFailed
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.display.output import print_result
from flowq.entrypoints.escaping import EscapingFormatter, escaped, guard, json_text

CLI = Path(looks.__file__).parent
#: Joiners are left: some scripts and emoji need them.
JOINERS = {"\u200c", "\u200d"}
HOSTILE = (
    "\x1b]0;owned\x07 \x1b[2J\r\nforged\x00\x7f\x9b31m\u202eright\u2066\u2028\u200b\ud800\U000e0041"
)

characters = st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Ll", "Lo", "So", "Nd"])
texts = st.text(characters, max_size=40) | st.sampled_from(
    ["\x1b", "\x9b", "\u202e", "\r", HOSTILE]
)


def acting(text: str) -> set[str]:
    """Return what would act, by the tables of Unicode rather than by ours."""
    acts = {one for one in text if unicodedata.category(one) in {"Cc", "Cs", "Zl", "Zp"}}
    turns = {one for one in text if unicodedata.bidirectional(one) in TURNING}
    return (acts | turns) - JOINERS


TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(texts)
def test_nothing_acts_but_a_tab(text: str) -> None:
    assert acting(escaped(text)) <= {"\t"}
    assert acting(escaped(text, lines=True)) <= {"\t", "\n"}
    assert escaped(text) == escaped(escaped(text))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert text == escaped(text)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("\x1b[2J", "␛[2J"),
        ("a\x00b", "a␀b"),
        ("a\r\nb", "a␍␊b"),
        ("\x7f", "␡"),
        ("\x9b", "\\x9b"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("👩\u200d🔬 ن\u200cم", "👩\u200d🔬 ن\u200cم"),
        ("a\tb", "a\tb"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert shown == escaped(text)


@given(st.recursive(texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_json_means_the_same_and_does_not_act(data: Any) -> None:
    printed = json_text(data)

    # Two surrogates that are a pair are one character in JSON.
    assert json.loads(json.dumps(data)) == json.loads(printed)
    assert set() == acting(printed)
    assert printed.encode()


def test_text_of_an_error_does_not_act() -> None:
    """Whoever prints it, also in a program of the user's own."""
    error = RunFailed(f"run 1 has failed: {HOSTILE}", hint=HOSTILE)

    assert acting(str(error)) <= {"\n"}
    assert HOSTILE in error.message


# --- the console ----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """Takes what is written, as a terminal does."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def printed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what is printed by a function, on either stream."""

    def printed(write: Callable[[], object]) -> str:
        both = Terminal() if request.param else io.StringIO()
        with monkeypatch.context() as patch:
            for name, value in (("NO_COLOR", "1"), ("TERM", "dumb"), ("COLUMNS", "400")):
                patch.setenv(name, value)
            patch.setattr(sys, "stdout", both)
            patch.setattr(sys, "stderr", both)
            write()
        return both.getvalue()

    return printed


Printed = Callable[[Callable[[], object]], str]


def table(text: str) -> Table:
    grid = Table(text, "b", title=text)
    grid.add_row(text, Text.assemble((text, "bold"), text))
    return grid


@pytest.mark.parametrize(
    "thing", [HOSTILE, Text(HOSTILE), Text.assemble("x", (HOSTILE, "bold red")), table(HOSTILE)]
)
def test_no_renderable_acts_and_none_makes_a_line(printed: Printed, thing: Any) -> None:
    def write() -> None:
        looks.out().print(thing, soft_wrap=True)
        looks.err().print(thing, soft_wrap=True)

    text = printed(write)

    assert acting(text) <= {"\n"}
    assert "\nforged" not in text
    assert "owned" in text


def test_messages_and_errors_do_not_act(printed: Printed) -> None:
    def write() -> None:
        looks.note(("a", "bold"), HOSTILE)
        looks.print_error(InvalidInput(HOSTILE, hint=HOSTILE))
        looks.print_json({"a": [HOSTILE]})

    assert acting(printed(write)) <= {"\n"}


def test_marks_of_rich_are_text(printed: Printed) -> None:
    text = "[bold]x[/] [link=http://evil]y[/link] :bomb:"

    assert f"{text}\n" == printed(lambda: looks.out().print(text))


def test_styles_stay_where_they_were() -> None:
    console = looks._Console(lines=False, file=io.StringIO())
    shown = console._visible(Text.assemble("\x1b\u202e", ("bold\x1b", "bold"), ("\x9b", "red")))

    spans = {shown.plain[one.start : one.end]: one.style for one in shown.spans}
    assert {"bold␛": "bold", "\\x9b": "red"} == spans


@pytest.mark.parametrize("value", [HOSTILE, {"a": HOSTILE}, [HOSTILE], Path("a\x1b[2J")], ids=type)
def test_result_on_a_terminal_does_not_act(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", screen)

    print_result(value)

    assert acting(screen.getvalue()) <= {"\n"}


def test_result_in_a_pipe_is_data(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("\x1b[31mred\x1b[0m")

    assert "\x1b[31mred\x1b[0m\n" == capsys.readouterr().out


def test_terminal_without_unicode_gets_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    looks.out().print("é\x1b", soft_wrap=True)
    sys.stdout.flush()

    assert b"\\xe9\\u241b\n" == raw.getvalue()


def test_all_that_the_commands_print_goes_over_their_consoles() -> None:
    """A new print cannot forget: other consoles are not made, and other ways are few and known."""
    known = {"console.py", "events.py", "graph.py", "group.py", "main.py", "output.py", "run.py"}
    known |= {"fake_llm.py", "manual.py"}
    for module in CLI.glob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        calls = {ast.unparse(one.func) for one in ast.walk(tree) if isinstance(one, ast.Call)}
        assert module.name == "console.py" or "Console" not in calls, module.name
        direct = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"}
        assert module.name in known or calls.isdisjoint(direct), module.name


# --- logs -----------------------------------------------------------------------------------------


def logged(
    formatter: logging.Formatter, message: str, *args: Any, error: Exception | None = None
) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    guard([handler])
    guard([handler])
    level, trace = (logging.ERROR, (type(error), error, None)) if error else (logging.WARNING, None)
    handler.handle(logging.LogRecord("flowq.test", level, __file__, 1, message, args, trace))
    return stream.getvalue()


@given(texts)
def test_record_does_not_act_and_forges_no_other(text: str) -> None:
    written = logged(
        logging.Formatter("[%(levelname)s] %(message)s"), "step %r said %s", text, text
    )

    assert acting(written) <= {"\t", "\n"}
    assert all(line.startswith(("[WARNING]", "  ")) for line in written.splitlines())


def test_traceback_does_not_act_and_forges_no_record() -> None:
    written = logged(
        logging.Formatter("[%(levelname)s] %(message)s"), "failed", error=ValueError(HOSTILE)
    )

    assert acting(written) <= {"\n"}
    assert "ValueError: ␛]0;owned" in written
    assert all(line.startswith(("[ERROR]", "ValueError: ␛", "  ")) for line in written.splitlines())


def test_colours_of_celery_are_left() -> None:
    written = logged(
        ColorFormatter("[%(levelname)s] %(message)s", use_color=True), "a %s", "\x1b[2J"
    )

    assert "\x1b[1;33m" in written
    assert "␛[2J" in written
    assert isinstance(EscapingFormatter(logging.Formatter()).inner, logging.Formatter)
