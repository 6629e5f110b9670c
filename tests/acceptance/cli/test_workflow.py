"""`flowq workflow` as a person types it: list, check, run; and the example on two workers."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands import ROOT, Shell
from tests.tools.workflows.samples import text_module

EDITED = {
    "name": "edited",
    "steps": [
        {"id": "split", "type_slug": "tokenize"},
        {"id": "shout", "type_slug": "shout"},
        {
            "id": "count",
            "type_slug": "count_words",
            "config": {"top": "many", "bottom": 1},
            "inputs": {"words": "splitt"},
        },
    ],
}
WORDS = {
    "name": "words",
    "steps": [
        {"id": "split", "type_slug": "tokenize"},
        {"id": "count", "type_slug": "count_words", "config": {"top": 2}},
    ],
}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A folder with the step types of docs/documents/workflows.md and two documents."""
    shell = Shell(tmp_path)
    (tmp_path / "text_steps.py").write_text(text_module(), encoding="utf-8")
    (tmp_path / "edited.json").write_text(json.dumps(EDITED))
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    yield shell
    shell.stop_server()


def test_step_types_are_listed(shell: Shell) -> None:
    done = shell.flowq("workflow", "types", "text_steps.py", "--json")
    assert 0 == done.code, done.err
    count, tokenize = done.json
    assert ("count_words", "tokenize") == (count["slug"], tokenize["slug"])
    assert {"lower"} == tokenize["parameters"]["properties"].keys()
    table = shell.flowq("workflow", "types", "text_steps.py").out
    assert "Split into words" in table
    assert (0, "") == (shell.flowq("workflow", "types").code, shell.flowq("workflow", "types").out)


def test_all_problems_are_printed(shell: Shell) -> None:
    done = shell.flowq("workflow", "validate", "edited.json", "--types", "text_steps.py")

    assert (2, "") == (done.code, done.err)
    assert done.out.splitlines() == [
        (
            "edited.json: step 'count' (3rd): config.top: Input should be a valid integer, "
            'got "many" (str)'
        ),
        "edited.json: step 'count': config.bottom: no such parameter; did you mean top?",
        (
            "edited.json: step 'shout': 'shout' is not found in the registry; "
            "known: count_words, tokenize"
        ),
        "edited.json: step 'count': inputs.words: no step 'splitt' before it",
        "4 problems",
    ]
    good = shell.flowq("workflow", "validate", "words.json", "--types", "text_steps.py")
    assert (0, "words.json: ok, 2 steps\n") == (good.code, good.out)
    (shell.folder / "typo.json").write_text(json.dumps({**WORDS, "paralel": True, "colour": "red"}))
    typo = shell.flowq("workflow", "validate", "typo.json", "--types", "text_steps.py")
    assert (0, "typo.json: ok, 2 steps\n") == (typo.code, typo.out)
    said = "paralel: it is kept, but has no effect; did you mean parallel?"
    assert f"Note: typo.json: {said}\n" == typo.err
    both = shell.flowq(
        *("workflow", "validate", "words.json", "edited.json", "--types", "text_steps.py", "--json")
    )
    assert (2, [True, False]) == (both.code, [one["valid"] for one in both.json])
    assert not shell.home.exists(), "it needs neither Redis nor a database"


def test_expressions_are_checked_in_a_process_that_runs_nothing(shell: Shell) -> None:
    steps = [{"name": "text", "expression": "'a b'"}, {"name": "words", "expression": "tokenize()"}]
    document = {"format_version": 2, "name": "two", "steps": steps}
    (shell.folder / "two.json").write_text(json.dumps(document))
    done = shell.flowq("workflow", "validate", "two.json", "--types", "text_steps.py")
    assert (0, "two.json: ok, 2 steps\n") == (done.code, done.out)


def test_a_frozen_registry_runs_workflows(shell: Shell) -> None:
    """flowq's own step types, of which most are imported late, do not count as new ones."""
    printed = shell.python(
        "import text_steps\n"
        "from flowq.workflows import registry\n"
        "registry.freeze()\n"
        "from flowq.workflows import Workflow\n"
        "steps = [{'name': 'x', 'expression': '5'}]\n"
        "document = {'format_version': 2, 'name': 'n', 'steps': steps}\n"
        "print(len(Workflow.from_dict(document, check=True).steps))"
    )
    assert "1" == printed.strip()


def test_a_workflow_runs_on_a_worker(shell: Shell) -> None:
    with shell.worker(target="text_steps.py"):
        command = ("workflow", "run", "words.json", "--types", "text_steps.py")
        done = shell.flowq(*command, "-p", "text=To be or not to be", "--wait", "--json")
        assert 0 == done.code, done.err
        assert {"count": {"be": 2, "to": 2}} == done.json["result"]

        missing = shell.flowq(*command, "--wait")
        assert (2, "") == (missing.code, missing.out)
        assert "inputs.text: the workflow has no input 'text'" in missing.err
        wrong = shell.flowq("workflow", "run", "edited.json", "--types", "text_steps.py")
        assert 2 == wrong.code
        assert "did you mean top?" in wrong.err
        assert 1 == len(shell.flowq("runs", "ls", "--json").json)

        steps = [{"id": "split", "type_slug": "tokenize", "on_error": "continue"}]
        (shell.folder / "goes_on.json").write_text(json.dumps({"name": "x", "steps": steps}))
        goes_on = ("workflow", "run", "goes_on.json", "--types", "text_steps.py", "-p", "text=5")
        failed = shell.flowq(*goes_on, "--wait")
        assert 1 == failed.code
        assert "the workflow has failed: step 'split' failed: StepError" in failed.err


MEETING = """
import os, time
from pathlib import Path
from flowq.workflows import step_type

@step_type("meet", execution_mode="row_iterative")
def meet(row: int, folder: str, count: int = 2) -> int:
    (Path(folder) / str(os.getpid())).touch()
    for _ in range(6000):
        if len(list(Path(folder).iterdir())) >= count:
            return row
        time.sleep(0.01)
    raise TimeoutError("nobody came")
"""


def test_parts_of_rows_run_on_several_workers(shell: Shell) -> None:
    """No row ends before two workers have one."""
    (shell.folder / "meeting.py").write_text(MEETING)
    folder = shell.folder / "met"
    folder.mkdir()
    step = {"id": "meet", "config": {"folder": str(folder)}, "execution_strategy": "4 workers"}
    document = {"name": "meeting", "steps": [{**step, "type_slug": "meet"}]}
    (shell.folder / "meeting.json").write_text(json.dumps(document))
    with ExitStack() as stack:
        for name in ("one", "two"):
            worker = shell.worker("-n", f"{name}@here", target="meeting.py", name=name)
            stack.enter_context(worker)
        done = shell.flowq(
            *("workflow", "run", "meeting.json", "--types", "meeting.py"),
            *("-p", "rows=[1, 2, 3, 4, 5, 6, 7]", "--wait", "--json"),
        )
    assert 0 == done.code, done.err
    assert {"meet": [1, 2, 3, 4, 5, 6, 7]} == done.json["result"]


def test_the_example_cleans_orders(shell: Shell) -> None:
    """It is composed, exported, edited and run on workers, as its head says."""
    shutil.copy(ROOT / "examples" / "workflows" / "cleaning.py", shell.folder / "cleaning.py")
    text = shell.python(
        "import cleaning, pathlib\n"
        "cleaning.write_orders(pathlib.Path('orders.csv'))\n"
        "print(cleaning.compose().to_json(indent=2))"
    )
    edited = json.loads(text)
    assert "distribute across 4 workers" == edited["steps"][1]["execution_strategy"]
    edited["steps"][3] |= {"config": {"field": "id"}, "colour": "red"}
    for name, document in (("cleaning.json", text), ("edited.json", json.dumps(edited))):
        (shell.folder / name).write_text(document)

    def result(document: str) -> Any:
        done = shell.flowq(
            *("workflow", "run", document, "--types", "cleaning.py"),
            *("-p", "path=orders.csv", "--wait", "--json"),
        )
        assert 0 == done.code, done.err
        steps = shell.flowq("runs", "show", done.json["id"], "--json").json["steps"]
        assert [4] == [step["map_size"] for step in steps if step["key"] == "clean"]
        return done.json["result"]["sums"]

    with shell.worker(target="cleaning.py"):
        assert {"Lima", "Oslo", "Paris", "Rome"} == result("cleaning.json").keys()
        by_order = result("edited.json")
    # Of 4,000 orders 40 have no price; those that came twice are counted once.
    assert 3960 == len(by_order)
    assert "3.00" == by_order["1"]
