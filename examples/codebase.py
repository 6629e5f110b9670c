"""A report on a Python code base: list its files, measure each of them, join what was found.

    celery -A examples.codebase worker                          # a worker, in one terminal
    flowq run examples/codebase.py:codebase --wait              # a run, in another
    flowq run examples/codebase.py:codebase -p folder=src/ --wait

or, from Python:

    run = codebase.enqueue(folder="src/")                       # returns at once
    print(run.result(timeout=60).markdown)

Every file is a step of its own. One that cannot be parsed fails alone and is named in the report,
as long as no more than 5 % do. The workers read the files, so they must see the folder.
"""

import ast
import csv
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

import flowq
from flowq import StepFailure, flow, step

app = flowq.celery_app()

STANDARD_LIBRARY = sysconfig.get_path("stdlib")
FOREIGN = {"site-packages", "dist-packages", "__pycache__", ".venv", ".git", "node_modules"}


# --- what is found --------------------------------------------------------------------------------


class Definition(NamedTuple):
    """A function or a class."""

    name: str  #: With the names of what it stands in, e.g. `Task.cancel`.
    kind: str  #: `function` or `class`.
    line: int
    lines: int
    documented: bool


class ModuleFacts(BaseModel):
    """What one file says about itself."""

    module: str
    lines: int
    imports: list[str]  #: Dotted names; the last part may be something inside the module.
    definitions: list[Definition]

    @property
    def functions(self) -> list[Definition]:
        """Its functions and methods."""
        return [found for found in self.definitions if found.kind == "function"]

    @property
    def longest(self) -> Definition | None:
        """Its longest function."""
        return max(self.functions, key=lambda found: found.lines, default=None)


class Totals(BaseModel):
    """Sums over all files."""

    modules: int
    lines: int
    functions: int
    classes: int
    failed: int


@dataclass(frozen=True)
class Report:
    """What a run returns; each field is the result of another step."""

    markdown: str
    totals: Totals
    definitions: str  #: The table of all definitions, as CSV.


# --- steps ----------------------------------------------------------------------------------------


@step
def list_files(folder: str) -> list[str]:
    """Return the paths of the Python files below a folder."""
    root = Path(folder)
    files = [
        file for file in root.rglob("*.py") if FOREIGN.isdisjoint(file.relative_to(root).parts)
    ]
    if not files:
        raise FileNotFoundError(f"there is no Python file in {folder}")
    return sorted(map(str, files))


@step(retries=2, retry_on=OSError)  # another attempt may read the file, but never mends its syntax
def measure(path: str) -> ModuleFacts:
    """Parse one file."""
    file = Path(path)
    source = file.read_bytes()
    module = module_name(file)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    imports: set[str] = set()
    definitions: list[Definition] = []
    for scope, node in statements(ast.parse(source, filename=path)):
        if isinstance(node, DEFINITIONS):
            name = ".".join((*scope, node.name))
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            documented = ast.get_docstring(node, clean=False) is not None
            definitions.append(Definition(name, kind, node.lineno, lines, documented))
        else:
            imports.update(imported(node, package))
    return ModuleFacts(
        module=module,
        lines=len(source.splitlines()),
        imports=sorted(imports),
        definitions=definitions,
    )


# A map that tolerates failures gives a StepFailure in place of each result that is missing.
Facts = Sequence[ModuleFacts | StepFailure]


@step
def add_up(facts: Facts) -> Totals:
    """Sum up all files."""
    modules = parsed(facts)
    kinds = Counter(found.kind for module in modules for found in module.definitions)
    return Totals(
        modules=len(modules),
        lines=sum(module.lines for module in modules),
        functions=kinds["function"],
        classes=kinds["class"],
        failed=len(facts) - len(modules),
    )


@step
def import_graph(facts: Facts) -> dict[str, list[str]]:
    """Return which modules of the code base each of its modules imports."""
    known = {module.module for module in parsed(facts)}
    graph = {}
    for module in parsed(facts):
        targets = {nearest(name, known) for name in module.imports} - {None, module.module}
        graph[module.module] = sorted(filter(None, targets))
    return graph


@step
def definition_table(facts: Facts) -> str:
    """Return one row for each definition; for the standard library this is more than 1 MiB."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["module", *Definition._fields])
    for module in parsed(facts):
        table.writerows((module.module, *found) for found in module.definitions)
    return text.getvalue()


@step
def write_report(folder: str, totals: Totals, facts: Facts, graph: dict[str, list[str]]) -> str:
    """Return the report as Markdown."""
    modules = parsed(facts)
    largest = sorted(modules, key=lambda module: module.lines, reverse=True)
    longest = [(module.module, module.longest) for module in modules if module.longest]
    longest.sort(key=lambda pair: pair[1].lines, reverse=True)
    importers = Counter(target for targets in graph.values() for target in targets)
    failures = [fact for fact in facts if isinstance(fact, StepFailure)]
    lines = [
        f"# Code base: {folder}",
        "",
        f"- {totals.modules:,} modules of {totals.lines:,} lines",
        f"- {totals.functions:,} functions and {totals.classes:,} classes",
        f"- {importers.total():,} imports between modules",
        *section("Not parsed", [f"`{relative(f.item, folder)}`: {f.message}" for f in failures]),
        *section("Most imported", [f"`{name}`: by {n:,}" for name, n in importers.most_common(5)]),
        *section("Largest modules", [f"`{m.module}`: {m.lines:,} lines" for m in largest[:5]]),
        *section(
            "Longest functions",
            [f"`{module}.{found.name}`: {found.lines:,} lines" for module, found in longest[:5]],
        ),
    ]
    return "\n".join(lines) + "\n"


# --- the flow -------------------------------------------------------------------------------------


@flow
def codebase(folder: str = STANDARD_LIBRARY) -> Report:
    """Report on the Python code in a folder; by default, on the standard library."""
    folder = str(Path(folder).resolve())  # an input is a real value; results are not here yet
    files = list_files(folder)
    facts = measure.map(files, tolerate="5%")
    totals = add_up(facts)
    markdown = write_report(folder, totals, facts, graph=import_graph(facts))
    return Report(markdown, totals, definitions=definition_table(facts))


# --- plain functions ------------------------------------------------------------------------------

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)


def statements(
    node: ast.AST, scope: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], ast.AST]]:
    """Yield every statement below a node, with the names of the definitions it stands in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, BLOCKS):
            yield scope, child
            inner = (*scope, child.name) if isinstance(child, DEFINITIONS) else scope
            yield from statements(child, inner)


def imported(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the full names that a statement imports, if it is an import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        yield from (
            ".".join(filter(None, [*base, node.module, alias.name])) for alias in node.names
        )


def module_name(file: Path) -> str:
    """Return the dotted name of a file: a folder with an `__init__.py` is a package."""
    parts = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def nearest(name: str, known: set[str]) -> str | None:
    """Return the longest known module that a dotted name begins with."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def parsed(facts: Facts) -> list[ModuleFacts]:
    """Return the facts of the files that could be parsed."""
    return [fact for fact in facts if isinstance(fact, ModuleFacts)]


def relative(path: str | None, folder: str) -> str:
    """Return a path as it is seen from the folder."""
    return (path or "?").removeprefix(f"{folder}/")


def section(title: str, entries: list[str]) -> list[str]:
    """Return a section of the report; none without entries."""
    return ["", f"## {title}", "", *(f"- {entry}" for entry in entries)] if entries else []
