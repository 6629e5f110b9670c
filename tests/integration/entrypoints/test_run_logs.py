"""`flowq runs logs` of a run that has failed and has logged nothing."""

import pytest
from click.testing import CliRunner, Result

from flowq import bootstrap, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.engine.logs import reading
from flowq.entrypoints.cli.app import environment, recorded
from flowq.entrypoints.cli.main import main
from tests.tools.playing import Played, Stage


@step
def price(number: int) -> int:
    return {0: 1}[number]


@flow
def prices(numbers: list[int]) -> list[int]:
    return price.map(numbers)


@pytest.fixture
def failed(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Played:
    stage = Stage.on(SqlRecords(sqlite_url))
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    monkeypatch.setattr(environment, "settings", lambda: None)
    monkeypatch.setattr(reading, "_SETTLING", 0)
    monkeypatch.setattr(reading, "_PAUSE", 0)
    return stage.play(prices, numbers=[0, 7, 0])


def logs(run: Played, *words: str) -> Result:
    return CliRunner().invoke(main, ["runs", "logs", str(run.id), *words])


def test_run_without_lines_says_how_it_ended_and_what_to_type(failed: Played) -> None:
    shown = logs(failed)
    assert shown.exit_code == 0, shown.output
    assert f"flowq runs show {failed.id} --traceback" in shown.stderr
    assert " is failed." not in shown.stderr
    assert f"Run {failed.id} is failed." in logs(failed, "--follow").stderr
    assert "no such line" in logs(failed, "--step", "price[2]").stderr


@pytest.mark.parametrize(
    "step_, says",
    [
        ("pric", ("has no step 'pric'", "its steps: price")),
        ("price[99]", ("has no item [99]", "it has 3 items")),
        ("nope[1]", ("has no step 'nope'",)),
    ],
)
def test_step_that_there_is_not_is_refused(
    failed: Played, step_: str, says: tuple[str, ...]
) -> None:
    shown = logs(failed, "--step", step_)
    assert shown.exit_code != 0
    assert all(one in shown.stderr for one in says), shown.stderr
