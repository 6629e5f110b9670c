"""The house keeps its shape: sizes, head comments, and what an import costs.

Floors, format, style and types are kept by the tools of `make lint`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULES = sorted((ROOT / "flowq").rglob("*.py"))
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
MAX_MODULES = 15
FOLDERS = sorted({module.parent for module in (*MODULES, *(ROOT / "tests").rglob("*.py"))})


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_module_is_short_and_explains_itself(module: Path) -> None:
    """A module has a head comment and one idea; a function fits on a screen."""
    source = module.read_text(encoding="utf-8")

    assert ast.get_docstring(ast.parse(source)), "no module docstring"
    assert len(source.splitlines()) <= LONGEST_MODULE
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(module)}
    assert {} == {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_folder_can_be_read_at_a_glance(folder: Path) -> None:
    """A folder is a room with one idea: more modules than this are two rooms."""
    modules = [module for module in folder.glob("*.py") if not module.stem.startswith("__")]

    assert len(modules) <= MAX_MODULES


def test_importing_flowq_loads_no_vendor() -> None:
    """Authors' modules import flowq; that must be instant, and work without any server library."""
    heavy = {"alembic", "celery", "flower", "kombu", "obstore", "redis", "sqlalchemy"}
    code = "import sys, flowq; print(*{name.partition('.')[0] for name in sys.modules})"

    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    )

    assert set() == heavy & set(done.stdout.split())
