"""The bench of other engines: it is named, its programs are whole, its table is right."""

import ast
import sys
from itertools import count
from pathlib import Path

import pytest

from benchmarks.__main__ import chosen, parts
from benchmarks.peers import protocol
from benchmarks.peers.environments import NotInstalledError, environment
from benchmarks.peers.part import _OURS, PEERS, _row
from benchmarks.peers.protocol import WORKS, Found, measured, same, tell, told

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "benchmarks" / "peers"
#: What a program of another environment may import of this repository.
SHARED = {"benchmarks.peers.protocol", "benchmarks.processes"}
PROGRAMS = [*(f"{program}.py" for program in PEERS.values()), "director_tasks.py"]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_part_is_done_when_it_is_asked_for() -> None:
    assert chosen("peers") == ["peers"]
    assert set(chosen("")) == set(parts()) - {"peers"}


def test_part_that_is_not_there_is_refused_with_the_others() -> None:
    with pytest.raises(SystemExit, match=r"no part 'piers'; give one of .*many, .*peers"):
        chosen("piers")


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_can_run_without_this_repository_installed(program: str) -> None:
    outside = {name.partition(".")[0] for name in imported(FOLDER / program) - SHARED}

    assert outside <= {*sys.stdlib_module_names, "dbos", "director", "prefect"}


@pytest.mark.parametrize("module", sorted(SHARED))
def test_what_programs_share_imports_nothing_else(module: str) -> None:
    path = ROOT / f"{module.replace('.', '/')}.py"

    assert {name.partition(".")[0] for name in imported(path)} <= sys.stdlib_module_names


def test_flowq_does_every_work() -> None:
    assert _OURS.keys() == WORKS.keys()


def test_rounds_are_fewer_where_one_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    done = count()
    assert len(measured("fast", lambda: next(done), lambda: 0.0).seconds) == 5
    assert next(done) == 6  # once more, which does not count

    monkeypatch.setattr(protocol, "LONG_SECONDS", 0.0)

    assert len(measured("slow", lambda: None, lambda: 0.0).seconds) == 3


def test_cpu_time_is_that_of_each_round() -> None:
    spent = count(0, 2)

    found = measured("way", lambda: next(spent), lambda: next(spent))

    assert found.cpu == [4.0] * 5


def test_what_a_program_tells_is_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    found = Found("by threads", [1.5, 2.0], [0.5, 0.25], steps=100)

    tell(found)

    lines = ["a warning", *capsys.readouterr().out.splitlines()]
    assert list(told(lines)) == [found]


def test_another_result_is_not_measured() -> None:
    same([1], [1])
    with pytest.raises(RuntimeError, match="the result is 3, not 1000"):
        same(3, 1000)


def test_row_has_the_middle_the_least_and_the_most() -> None:
    found = Found("2 processes", [4.0, 1.0, 2.0], [0.1, 0.3, 0.2])

    assert _row(WORKS["chain"], "x", found, 200.0) == (
        "| chain of 100 no-op steps | x: 2 processes; 3 rounds | 50 steps/s (25 to 100) | 2.00 ms "
        "| 4.00x |"
    )


def test_row_of_waits_is_a_time() -> None:
    found = Found("threads", [2.5, 2.0, 2.25], [1.0, 1.0, 1.0])

    assert "| 2.25 s (2.00 to 2.50) | 2.00 ms | 1.00x |" in _row(
        WORKS["naps"], "x", found, 500 / 2.25
    )


def test_row_says_when_the_work_was_shorter() -> None:
    found = Found("tasks", [1.0], [0.1], steps=100)

    row = _row(WORKS["program"], "x", found, 1000.0)

    assert "no-op steps; here 100 |" in row
    assert "| 100 steps/s (100 to 100) | 1.00 ms | 10.00x |" in row


def test_engine_that_cannot_be_installed_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.peers.environments.FOLDER", tmp_path)
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'ERROR: no disk' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))

    with pytest.raises(NotInstalledError, match="ERROR: no disk"):
        environment("dbos")
