"""What docs/documents/workflows.md says of failures and values, in processes of their own."""

import os
import sys
from pathlib import Path

from tests.tools.session.processes import run

ROOT = Path(__file__).parents[3]

FAILING = """
from flowq.workflows import Workflow, WorkflowRunner, step_type

@step_type("a", inputs=[])
def a() -> int:
    return 1

@step_type("b")
def b(value: int) -> int:
    raise ValueError("no")

@step_type("c")
def c(value: int) -> int:
    return value

steps = [{"id": slug, "type_slug": slug} for slug in "abc"]
workflow = Workflow.from_dict({"name": "fails", "steps": steps})
result = WorkflowRunner().run(workflow)
assert result.status == "failed"
assert [one.status for one in result.steps] == ["completed", "failed", "pending"]
assert result.steps[1].error == "ValueError: no"
assert "in b" in result.steps[1].traceback
try:
    WorkflowRunner().run(workflow, raise_on_error=True)
except RuntimeError as error:
    print(error)
"""
PUT = """
from flowq.workflows import RuntimeContext
import pandas
print(RuntimeContext().put(pandas.DataFrame({"a": [1, 2]})))
"""
GET = """
import sys
from flowq.workflows import RuntimeContext
print(RuntimeContext().get(sys.argv[1]).to_csv(index=False))
"""


def python(folder: Path, sqlite_url: str, *arguments: str) -> str:
    """Run Python in a folder and return what it prints."""
    own = {"FLOWQ_HOME": str(folder), "FLOWQ_DATABASE_URL": sqlite_url, "PYTHONPATH": str(ROOT)}
    done = run([sys.executable, *arguments], cwd=folder, env={**os.environ, **own})
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_a_failure_is_in_the_result(tmp_path: Path, sqlite_url: str) -> None:
    assert "Error executing step b: ValueError: no\n" == python(tmp_path, sqlite_url, "-c", FAILING)


def test_a_value_is_read_in_another_process(tmp_path: Path, sqlite_url: str) -> None:
    reference = python(tmp_path, sqlite_url, "-c", PUT).strip()
    assert "a\n1\n2" == python(tmp_path, sqlite_url, "-c", GET, reference).strip()
