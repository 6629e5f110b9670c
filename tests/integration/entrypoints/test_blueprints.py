"""`flowq blueprint import, ls, show, clone, run` on a real database."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from flowq.client import Run
from flowq.engine.model.documents import Viewer
from flowq.entrypoints.cli.app import environment, recorded
from flowq.entrypoints.cli.main import main
from flowq.playbooks.blueprints import catalogue
from flowq.playbooks.running import program
from tests.tools.http_service import working
from tests.tools.playbooks.blueprints import data, node
from tests.tools.playing import Stage

TEMPLATES = """\
workflow_templates:
  basic:
    - name: chat
      description: A model with tools.
      category: general
      default_params: {temperature: 0.2}
      required_tools: [search]
      required_retrievers: [docs]
  extended:
    - name: greet
      nodes:
        - {id: s, type: start}
        - {id: g, type: variable, config: {name: greeting, value: "Hello {{ who }}"}}
      edges: [{source: s, target: g}]
"""

#: Registered before the definitions of a test are forgotten.
PROGRAM = program.playbook


@pytest.fixture
def stage(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage.on(SqlRecords(sqlite_url))
    monkeypatch.setattr(recorded, "engine", lambda: stage.engine)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    monkeypatch.setattr(environment, "prepare", lambda: None)
    return stage


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "templates.yaml"
    file.write_text(TEMPLATES)
    return file


def flowq(*words: object) -> Result:
    return CliRunner().invoke(main, ["blueprint", *map(str, words)])


def said(*words: object) -> Any:
    done = flowq(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def outcomes(file: Path, *options: str) -> list[tuple[str, int, str]]:
    found = said("import", file, *options)
    return [(one["name"], one["version"], one["outcome"]) for one in found]


@pytest.mark.usefixtures("stage")
def test_templates_are_imported_once_and_what_has_changed_is_a_new_version(file: Path) -> None:
    assert outcomes(file) == [("chat", 1, "created"), ("greet", 1, "created")]
    assert outcomes(file) == [("chat", 1, "unchanged"), ("greet", 1, "unchanged")]
    file.write_text(TEMPLATES.replace("Hello", "Hi").replace("      description: A", "      # A"))
    assert outcomes(file) == [("chat", 2, "changed"), ("greet", 2, "changed")]
    assert outcomes(file, "--owner", "ann") == [("chat", 1, "created"), ("greet", 1, "created")]
    listed = [(one["name"], one["version"], one["owner_id"]) for one in said("ls", "--templates")]
    assert sorted(listed) == [
        ("chat", 1, "ann"),
        ("chat", 2, None),
        ("greet", 1, "ann"),
        ("greet", 2, None),
    ]


@pytest.mark.usefixtures("stage")
def test_what_is_no_key_of_a_blueprint_is_kept_in_its_config(file: Path) -> None:
    flowq("import", file)

    chat = said("show", "chat")
    assert chat["is_template"]
    assert chat["blueprint"]["config"] == {
        "category": "general",
        "default_params": {"temperature": 0.2},
        "required_tools": ["search"],
        "required_retrievers": ["docs"],
        "group": "basic",
    }
    assert "draft" in flowq("ls").stdout


@pytest.mark.usefixtures("stage")
def test_what_is_shown_is_imported_again(file: Path, tmp_path: Path) -> None:
    flowq("import", file)
    out = tmp_path / "greet.json"
    out.write_text(flowq("show", "greet").stdout)

    assert outcomes(out) == [("greet", 1, "unchanged")]
    assert "join: all" in flowq("show", "greet", "--playbook").stdout


def test_imported_templates_are_everybodys_to_read(stage: Stage, file: Path) -> None:
    [chat, _] = said("import", file)
    [hers, _] = said("import", file, "--owner", "ann", "--visibility", "private")

    seen = {str(one.id) for one in catalogue.listed(stage.engine, Viewer("bob"))}
    assert chat["id"] in seen
    assert hers["id"] not in seen


@pytest.mark.usefixtures("stage")
def test_a_clone_is_no_template_and_is_called_by_its_id(file: Path) -> None:
    flowq("import", file)
    cloned = flowq("clone", "greet", "--owner", "ann").stdout.strip()

    made = said("show", cloned)
    assert (made["is_template"], made["owner_id"], made["version"]) == (False, "ann", 1)
    twice = flowq("show", "greet")
    assert twice.exit_code == 2
    assert "2 blueprints have the name 'greet'" in twice.stderr


def test_a_blueprint_runs_with_input_data(stage: Stage, file: Path) -> None:
    flowq("import", file)
    with working(stage):
        run_id = flowq("run", "greet", "-p", "who=Ada", "--user", "ann").stdout.strip()
        assert Run.get(run_id).result(timeout=60)["result"] == {
            "who": "Ada",
            "greeting": "Hello Ada",
        }
    row = stage.engine.records.autocommit(
        lambda tx: tx.overview.document_run(Run.get(run_id).id, catalogue.KIND)
    )
    assert row is not None
    assert row.labels["name"] == "greet"


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize(
    "words, message",
    [
        (("run", "chat"), "nodes of the type 'tool' for search"),
        (("run", "nobody"), "there is no blueprint 'nobody'"),
        (("show", uuid4()), "there is no blueprint"),
        (("run", "greet", "-p", "who"), "is not NAME=VALUE"),
    ],
)
def test_what_cannot_be_done_is_said(file: Path, words: Any, message: str) -> None:
    flowq("import", file)

    done = flowq(*words)

    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize(
    "text, message",
    [
        ("workflow_templates: 3", "workflow_templates: is not an object of groups"),
        ("workflow_templates: {basic: 3}", "workflow_templates.basic: is not a list of templates"),
        ("workflow_templates: {basic: [3]}", "workflow_templates.basic[0]: is not an object"),
        ("workflow_templates: {basic: [{description: x}]}", "basic[0].name: is missing"),
        ("workflow_templates: {a: [{name: x, config: 3}]}", "a[0].config: is not an object"),
        ("workflow_templates: {a: [{name: x}], b: [{name: x}]}", "b[0].name: 'x' is the name of"),
        ("[1]", "is neither a blueprint nor an object"),
        ("a: [", "Invalid YAML"),
        ("{name: x, nodes: [{id: a, type: '?'}]}", "nodes[0]: 'type' must be one of"),
        (json.dumps(data("s>a a>b b>a", b=node("b"))), "edges: a -> b -> a is a cycle"),
        ("", "is empty"),
    ],
)
def test_wrong_files_are_not_imported(file: Path, text: str, message: str) -> None:
    file.write_text(text)

    done = flowq("import", file)

    assert done.exit_code == 2
    assert message in done.stderr
    assert said("ls") == []
