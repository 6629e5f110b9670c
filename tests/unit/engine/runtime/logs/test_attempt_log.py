"""Of what an attempt logs, the first lines and the last ones are kept, and all others counted."""

import json
import logging
from typing import Any

import uuid_utils.compat as uuids
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.ids import LeaseToken, RunId, node_id
from flowq.engine.model.logs import DroppedBunches, LogBunch, StoredLine
from flowq.engine.model.rows import Claim
from flowq.engine.runtime.logs.attempt_log import MAX_MESSAGE, AttemptLog, DroppedLines

RUN = RunId(uuids.uuid7())
CLAIM = Claim(node_id(RUN, "a"), RUN, "a", None, 2, 0, LeaseToken(uuids.uuid7()), {})
LIMIT = 64 * 1024


class Taken:
    """Takes lines, as the writer does."""

    def __init__(self) -> None:
        self.lines: list[StoredLine] = []

    def put(self, log: AttemptLog, line: StoredLine) -> None:
        self.lines.append(line)


class Table:
    """Stores bunches as the database does."""

    def __init__(self) -> None:
        self.rows: dict[int, LogBunch] = {}
        self.missing: dict[int, int] = {}

    def write(self, made: list[LogBunch], displaced: DroppedBunches | None) -> None:
        for bunch in made:
            assert bunch.first_line not in self.rows
            self.rows[bunch.first_line] = bunch
            self.missing[bunch.first_line] = bunch.missing
        if displaced is not None:
            for first in displaced.first_lines:
                del self.rows[first], self.missing[first]
            assert displaced.next_line in self.rows
            self.missing[displaced.next_line] = displaced.missing

    def numbers(self) -> list[int]:
        """The numbers of the lines, which are their texts."""
        return [
            int(StoredLine(*line).message.partition(" ")[0])
            for first in sorted(self.rows)
            for line in json.loads(self.rows[first].data)
        ]


def new_log(**options: Any) -> tuple[AttemptLog, Taken]:
    taken = Taken()
    return AttemptLog(CLAIM, taken, LIMIT, **options), taken


def line(text: str, level: int = logging.INFO) -> StoredLine:
    return StoredLine(1_700_000_000_000_000, level, "app", text)


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([1, 300, 3_000, 12_000]), st.integers(0, 3)),
        max_size=12,
    )
)
def test_all_lines_are_kept_or_counted(writes: list[tuple[int, int, int]]) -> None:
    """Each write has some lines of a size, after which some are dropped."""
    log, _ = new_log()
    table, number = Table(), 0
    kept: list[int] = []
    for count, size, dropped in writes:
        lines = [line(f"{one} {'x' * size}") for one in range(number, number + count)]
        kept += range(number, number + count)
        number += count + dropped
        gap = DroppedLines(dropped, lines[-1].at_us if lines else 1) if dropped else None
        table.write(*log.bunches(lines, gap))

        found = table.numbers()
        counted = sum(table.missing.values())
        assert found == sorted(found), "in order"
        assert len(found) + counted == number, "every line is kept or counted"
        if kept:
            assert not found or found[0] == kept[0], "the first one is kept"
            assert found[-1:] == kept[-1:], "and the last one"
        size_of_all = sum(len(bunch.data) for bunch in table.rows.values())
        assert size_of_all <= LIMIT + 12_200


def test_what_is_missing_is_where_it_was() -> None:
    log, _ = new_log()
    table = Table()
    for first in range(0, 100, 10):
        lines = [line(f"{one} {'x' * 1_000}") for one in range(first, first + 10)]
        table.write(*log.bunches(lines))

    [place] = [first for first, missing in table.missing.items() if missing]
    numbers = table.numbers()

    assert numbers == [*range(30), *range(place, 100)]
    assert table.missing[place] == place - 30


def test_bunch_says_whose_it_is() -> None:
    log, _ = new_log()

    [bunch], displaced = log.bunches([line("a"), line("b", logging.ERROR), line("c")])

    assert displaced is None
    assert (bunch.run_id, bunch.step_id, bunch.token) == (RUN, CLAIM.id, CLAIM.token)
    assert (bunch.attempt, bunch.first_line, bunch.line_count, bunch.missing) == (2, 0, 3, 0)
    assert bunch.level == logging.ERROR
    assert bunch.first_at.isoformat() == "2023-11-14T22:13:20+00:00"


@given(st.text(alphabet=st.characters(codec=None)), st.text())
def test_any_text_comes_back(message: str, logger: str) -> None:
    """Lone surrogates, which UTF-8 does not have, are written as escapes."""
    log, _ = new_log()

    [bunch], _ = log.bunches([StoredLine(1, 20, logger, message)])

    [[_, _, said_by, said]] = json.loads(bunch.data)
    assert said == message.encode(errors="backslashreplace").decode()
    assert said_by == logger


def test_long_message_is_cut() -> None:
    log, taken = new_log()

    log.add(1.0, logging.INFO, "app", "x" * (MAX_MESSAGE + 1_234))

    [said] = taken.lines
    assert said.message == "x" * MAX_MESSAGE + "… (1,234 more characters)"


@given(
    secret=st.text("0123456789", min_size=8, max_size=60),
    place=st.integers(MAX_MESSAGE - 100, MAX_MESSAGE + 5),
    login=st.sampled_from(["", "https://ann:", "prefix+postgresql://"]),
    length=st.sampled_from([0, 1_000, 50_000]),
)
def test_secret_at_the_place_of_the_cut_is_not_kept(
    secret: str, place: int, login: str, length: int
) -> None:
    log, taken = new_log()
    if not login:
        log.mask = lambda text: text.replace(secret, "***")
    there = f"{login}{secret}{'@db.example.org/shop' if login else ''}"

    log.add(1.0, logging.INFO, "app", "x" * (place - len(login)) + " " + there + " " + "x" * length)

    [bunch], _ = log.bunches(taken.lines)
    said = json.loads(bunch.data)[0][3].partition("… (")[0]
    assert not set(said) & set("0123456789")


def test_passwords_in_addresses_and_secrets_of_the_attempt_are_not_kept() -> None:
    log, _ = new_log()
    log.mask = lambda text: text.replace("s3cret", "***")

    [bunch], _ = log.bunches([line("s3cret at postgresql://ann:pa55@db/shop?k=s3cret")])

    assert json.loads(bunch.data)[0][3] == "*** at postgresql://db/shop"


def test_printed_text_is_kept_by_lines() -> None:
    log, taken = new_log(prints=True)

    for text in ("a", "b\nc", "\n", "\n", "rest"):
        log.write(text)
    assert [one.message for one in taken.lines] == ["ab", "c", ""]
    log.end_line()
    log.end_line()

    assert [one.message for one in taken.lines] == ["ab", "c", "", "rest"]
    assert {(one.level, one.logger) for one in taken.lines} == {(logging.INFO, "print")}


def test_printed_text_without_an_end_does_not_grow() -> None:
    log, taken = new_log(prints=True)

    for _ in range(5):
        log.write("x" * (MAX_MESSAGE // 2))

    assert len(taken.lines) == 2
    assert len(log._partial) <= MAX_MESSAGE


def test_secret_of_two_flushes_is_not_kept() -> None:
    log, taken = new_log()
    log.mask = lambda text: text.replace("s3cret", "***")
    for text in ("x" * (MAX_MESSAGE - 3), "pass=s3c", "ret " + "y" * 9_999):
        log.write(text)
    log.end_line()
    kept = "".join(log.mask(line.message) for line in taken.lines)
    assert "pass=*** y" in kept
    assert MAX_MESSAGE - 3 + len("pass=*** ") + 9_999 == len(kept)
