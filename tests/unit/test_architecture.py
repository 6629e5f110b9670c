"""The house keeps its shape: sizes, head comments, and what an import costs.

Floors, format, style and types are kept by the tools of `make lint`.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULES = sorted((ROOT / "flowq").rglob("*.py"))
MAX_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_MODULES = 15
FOLDERS = sorted({module.parent for module in (*MODULES, *(ROOT / "tests").rglob("*.py"))})

#: Where a text sends its reader.
SEE = re.compile(r"\bsee `([\w.]+)`")
#: The fields of a syntax tree that hold names.
NAMES = ("id", "attr", "arg", "name")


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
    assert len(source.splitlines()) <= MAX_LINES
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(module)}
    assert {} == {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}


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


def test_what_a_text_refers_to_exists() -> None:
    """Where a docstring or a comment says "see `name`", that is a module or a name of the code."""
    texts = {relative(module): module.read_text(encoding="utf-8") for module in MODULES}
    known = {part for name in texts for part in name.removesuffix(".py").split("/")}
    for text in texts.values():
        for node in ast.walk(ast.parse(text)):
            known |= {str(getattr(node, field)) for field in NAMES if hasattr(node, field)}
    referred = [
        (name, found, word)
        for name, text in texts.items()
        for found in SEE.findall(text)
        for word in found.split(".")
    ]

    assert len(referred) >= 40
    assert [] == [(name, found) for name, found, word in referred if word not in known]
