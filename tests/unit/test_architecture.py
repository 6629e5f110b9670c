"""The house keeps its shape: sizes, head comments, and what an import costs.

Floors, format, style and types are kept by the tools of `make lint`.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

MODULES = sorted((ROOT / "flowq").rglob("*.py"))
MAX_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_MODULES = 15

#: Where a text sends its reader.
SEE = re.compile(r"\bsee `([\w.]+)`")
#: The fields of a syntax tree that hold names.
NAMES = ("id", "attr", "arg", "name")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def flaws(module: Path) -> Iterator[str]:
    """Say what is wrong with the shape of a module."""
    source = module.read_text(encoding="utf-8")
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield "no module docstring"
    if (lines := len(source.splitlines())) > MAX_LINES:
        yield f"{lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{node.name} has {lines} lines"


def test_modules_are_short_and_explain_themselves() -> None:
    """A module has a head comment and one idea; a function fits on a screen."""
    assert {} == {relative(one): found for one in MODULES if (found := [*flaws(one)])}


def test_folders_can_be_read_at_a_glance() -> None:
    """A folder is a room with one idea: more modules than this are two rooms."""
    modules = Counter(
        module.parent
        for folder in ("flowq", "tests")
        for module in (ROOT / folder).rglob("*.py")
        if not module.stem.startswith("__")
    )
    assert {} == {relative(one): many for one, many in modules.items() if many > MAX_MODULES}


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
