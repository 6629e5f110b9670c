"""What `flowq runs delete` refuses, and what it reports when some runs cannot be deleted."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowq.core.errors import DatabaseUnavailable, InvalidInput
from flowq.entrypoints.cli.commands.runs import delete as command


class _Run:
    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.id, self._error = name, error

    def delete(self) -> int:
        if self._error is not None:
            raise self._error
        return 1


def deleted(monkeypatch: pytest.MonkeyPatch, *runs: _Run) -> Result:
    monkeypatch.setattr(command, "chosen", lambda **_: list(runs))
    return CliRunner().invoke(command.delete, ["--json"], standalone_mode=False)


@pytest.mark.parametrize("arguments", [[], ["01a2", "--flow", "f"], ["--older-than", "soon"]])
def test_what_cannot_be_meant_is_refused(arguments: list[str]) -> None:
    assert 2 == CliRunner().invoke(command.delete, arguments).exit_code


def test_runs_that_cannot_be_deleted_do_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = deleted(monkeypatch, _Run("a"), _Run("b", InvalidInput("b has a rerun")), _Run("c"))

    assert 1 == done.return_value
    assert {"deleted": ["a", "c"], "kept": ["b has a rerun"]} == json.loads(done.stdout)
    assert "2 of 3 runs are deleted" in done.stderr


def test_outage_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done = deleted(monkeypatch, _Run("a"), _Run("b", DatabaseUnavailable("away")), _Run("c"))

    seen: dict[str, Any] = json.loads(done.stdout)
    assert ["a"] == seen["deleted"]


def test_all_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 == deleted(monkeypatch, _Run("a"), _Run("b")).return_value
