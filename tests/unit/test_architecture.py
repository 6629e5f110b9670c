"""The house keeps its shape: floors, sizes, style, types, and what an import costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

MODULES = sorted((ROOT / "flowq").rglob("*.py"))
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize(
    "command",
    ["lint-imports --no-logo", "ruff format --check .", "ruff check .", "mypy"],
    ids=["imports go down only", "format", "style", "types"],
)
def test_tool_finds_nothing(command: str) -> None:
    """The tools of `make lint` have nothing to say."""
    program, *arguments = command.split()

    done = subprocess.run(
        [str(BIN / program), *arguments],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_module_is_short_and_explains_itself(module: Path) -> None:
    """A module has a head comment and one idea; a function fits on a screen."""
    source = module.read_text(encoding="utf-8")

    assert ast.get_docstring(ast.parse(source)), "no module docstring"
    assert len(source.splitlines()) <= LONGEST_MODULE
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(module)}
    assert {} == {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}


def test_importing_flowq_loads_no_vendor() -> None:
    """Authors' modules import flowq; that must be instant, and work without any server library."""
    heavy = {"alembic", "celery", "flower", "kombu", "obstore", "redis", "sqlalchemy"}
    code = "import sys, flowq; print(*{name.partition('.')[0] for name in sys.modules})"

    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    )

    assert set() == heavy & set(done.stdout.split())
