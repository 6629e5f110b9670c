"""`flowq playbook register, ls, show` on a real database."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from flowq.entrypoints.cli.app import environment, recorded
from flowq.entrypoints.cli.main import main
from flowq.playbooks import catalogue
from tests.tools.playing import Stage

TEXT = """\
# counts
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: orders, path: shop/orders}
workflow:
  - {step: start, tool: {kind: noop}, args: {n: 1}}
"""


@pytest.fixture
def stage(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage.on(SqlRecords(sqlite_url))
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    return stage


def flowq(*words: str) -> Result:
    return CliRunner().invoke(main, ["playbook", *words])


def read(*words: str) -> Any:
    done = flowq(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("stage")
def test_a_text_is_registered_once_and_a_changed_one_is_the_next_version(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    said = []
    for text in (TEXT, TEXT, TEXT.replace("n: 1", "n: 2")):
        file.write_text(text)
        said.append(flowq("register", str(file)).stdout.strip())

    assert said == ["shop/orders, version 1"] * 2 + ["shop/orders, version 2"]
    assert [(one["path"], one["version"]) for one in read("ls")] == [("shop/orders", 2)]
    assert flowq("show", "shop/orders@1").stdout == TEXT
    assert read("show", "shop/orders")["document"]["workflow"][0]["args"] == {"n": 2}


@pytest.mark.usefixtures("stage")
def test_what_is_not_there_or_wrong_is_said(tmp_path: Path) -> None:
    absent = flowq("show", "shop/orders@3")
    assert absent.exit_code != 0
    assert "there is no playbook shop/orders@3" in absent.stderr
    assert "flowq playbook register" in flowq("ls").stderr
    file = tmp_path / "wrong.yaml"
    file.write_text(TEXT.replace("noop", "nope"))
    assert flowq("register", str(file)).exit_code != 0
    assert read("ls") == []
    file.write_bytes(b"\xff\xfe\xfa")
    assert "is not in UTF-8" in flowq("register", str(file)).stderr


def test_an_execution_id_is_bound_to_the_version_of_its_registration(stage: Stage) -> None:
    def register(text: str, execution_id: str) -> int:
        done = catalogue.register(
            stage.engine, text, seen_by="ann", owner="ann", execution_id=execution_id
        )
        return done.head.version

    assert register(TEXT, "exec-1") == 1
    assert register(TEXT.replace("n: 1", "n: 2"), "exec-2") == 2

    found = catalogue.bound(stage.engine, "exec-1", seen_by="ann")
    assert found is not None
    assert catalogue.playbook_of(found).workflow[0].args == {"n": 1}
    assert catalogue.bound(stage.engine, "exec-1", seen_by="bob") is None


def test_an_execution_is_found_by_the_id_that_it_was_given(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "prepare", lambda: None)
    file = tmp_path / "orders.yaml"
    file.write_text(TEXT)
    flowq("register", str(file))
    first = flowq("run", "shop/orders", "--execution-id", "exec-1").stdout
    file.write_text(TEXT.replace("n: 1", "n: 2"))
    flowq("register", str(file))

    assert first == flowq("run", "shop/orders", "--execution-id", "exec-1").stdout
    stage.dispatcher.run(stage.engine)
    assert json.loads(flowq("result", "exec-1").stdout) == {"n": 1}
    assert "playbook.completed" in flowq("events", "exec-1").stdout
    absent = flowq("events", "exec-2")
    assert absent.exit_code != 0
    assert "no run has the id exec-2" in absent.stderr
