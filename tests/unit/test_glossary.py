"""The glossary has every word of the schema and of the API, and no other."""

import inspect
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import click
import pytest

import flowq
from flowq.adapters.records.sql.tables import Base
from flowq.authoring.definitions.queueing import QueueingOptions
from flowq.core import events
from flowq.core.spec import StepKind
from flowq.core.states import AttemptEnd, RunState, StepState, StopKind
from flowq.core.usage import CostStatus, RequestStatus
from flowq.engine.runs.options import SubmitOptions
from flowq.entrypoints.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs/reference/glossary.md").read_text(encoding="utf-8")
#: From the head of a table to its rows: the word, and its meaning.
ROW = re.compile(r"^\| (.+?) \| (.+) \|$")
TABLES = {name: table.columns.keys() for name, table in Base.metadata.tables.items()}
STATES: dict[str, type[StrEnum]] = {
    "of a run": RunState,
    "of a step run": StepState,
    "why a run stopped (`stop_kind`)": StopKind,
    "the end of an attempt that another followed (`outcome`)": AttemptEnd,
    "of a call of a model": RequestStatus,
    "what is known of its cost (`cost_status`)": CostStatus,
    "what a step of a spec is (`kind`)": StepKind,
}


def section(head: str) -> str:
    """Return what stands under a heading, up to the next one that is not below it."""
    level = head.split(" ", maxsplit=1)[0]
    _, found, rest = f"\n{PAGE}".partition(f"\n{head}\n")
    assert found, f"no heading {head!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str, head: str) -> dict[str, str]:
    """Return the rows of the table that begins with a head; a word may stand in it once."""
    lines = iter(text.splitlines())
    assert any(line.startswith(f"| {head} |") for line in lines), f"no table {head!r}"
    next(lines)
    found = list(_rows(lines))
    assert len(found) == len(dict(found)), found
    return dict(found)


def _rows(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        row = ROW.match(line)
        if row is None:
            return
        yield row[1].strip("`"), row[2]


def compare(given: Iterable[str], wanted: Iterable[str]) -> None:
    """Name what is missing and what is no word any more."""
    words, names = set(given), set(wanted)
    missing, gone = names - words, words - names
    assert (missing, gone) == (set(), set()), "missing, and no word any more"


def commands(group: click.Command, name: str) -> Iterator[str]:
    if not isinstance(group, click.Group):
        yield name
        return
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        yield from commands(command, f"{name} {each}")


def options() -> set[str]:
    """Return the names of all that may be said of a step, a flow or a run."""
    makers = (flowq.step.__call__, flowq.flow, flowq.Step.options, flowq.Flow.options)
    said = {name for each in makers for name in inspect.signature(each).parameters}
    said |= SubmitOptions.__annotations__.keys() | QueueingOptions.__annotations__.keys()
    return said - {"self", "function", "of_run", "queueing"}


@pytest.mark.parametrize("name", TABLES)
def test_table_has_its_columns(name: str) -> None:
    compare(rows(section(f"### `{name}`"), "column"), TABLES[name])


def test_every_table_is_there() -> None:
    compare(re.findall(r"^### `(\w+)`$", section("## Tables"), re.MULTILINE), TABLES)


def test_every_export_is_there() -> None:
    compare(rows(section("## What `flowq` exports"), "name"), flowq.__all__)


def test_every_method_of_a_run_is_there() -> None:
    named = set(re.findall(r"`(\w+)`", section("## What `flowq` exports")))
    public = {name for name in vars(flowq.Run) if not name.startswith("_")}
    assert public - named == set()


def test_every_option_is_there() -> None:
    compare(rows(section("## Options of steps and flows"), "option"), options())


@pytest.mark.parametrize("head", STATES)
def test_every_state_is_there(head: str) -> None:
    compare(rows(section("## States"), head), STATES[head])


def test_every_event_is_there() -> None:
    compare(rows(section("## Events"), "event"), events.NAMES.values())


def test_every_command_is_there() -> None:
    compare(rows(section("## Commands"), "command"), commands(main, "flowq"))


def test_ideas_are_in_order_and_each_is_one_sentence() -> None:
    ideas = rows(section("## Ideas"), "word")

    assert sorted(ideas, key=str.casefold) == list(ideas)
    assert [word for word, meaning in ideas.items() if meaning.endswith(".")] == []
