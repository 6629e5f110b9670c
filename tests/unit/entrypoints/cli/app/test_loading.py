"""From a target to a flow, and what is said when there is none."""

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from flowq.core.errors import FlowNotFound, InvalidFlow
from flowq.entrypoints.cli.app.loading import load_flow, load_module, tracing

ONE = """
from flowq import flow, step

@step
def one(n: int) -> int:
    return n

@flow
def first(n: int) -> int:
    return one(n)
"""
TWO = (
    ONE
    + """
@flow
def second(n: int) -> int:
    raise ValueError(f"not {n}")
"""
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten."""
    before, path = set(sys.modules), sys.path.copy()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def module(folder: Path, source: str) -> str:
    """Write a module and return its name, which no other test has."""
    name = f"flows_{uuid4().hex[:8]}"
    (folder / f"{name}.py").write_text(source)
    return name


def test_file_is_imported_under_the_name_that_workers_use(here: Path) -> None:
    """As `celery -A package.module` sees it from the current folder."""
    (here / "inner").mkdir()
    name = module(here / "inner", ONE)

    loaded = load_flow(f"inner/{name}.py:first")

    assert f"inner.{name}.first" == loaded.flow.type.name
    assert f"inner/{name}.py" == loaded.file


def test_module_is_found_from_the_current_folder(here: Path) -> None:
    name = module(here, ONE)

    assert f"{name}.first" == load_flow(f"{name}:first").flow.type.name


def test_only_flow_needs_no_name(here: Path) -> None:
    name = module(here, ONE)

    assert f"{name}.first" == load_flow(f"{name}.py").flow.type.name


def test_flow_is_also_known_by_its_registered_name(here: Path) -> None:
    name = module(here, TWO)

    assert f"{name}.second" == load_flow(f"{name}.py:{name}.second").flow.type.name


def test_imported_flow_does_not_make_the_own_one_ambiguous(here: Path) -> None:
    other = module(here, ONE)
    name = module(here, f"from {other} import first as theirs\n{ONE}")

    assert f"{name}.first" == load_flow(f"{name}.py").flow.type.name
    assert f"{other}.first" == load_flow(f"{name}.py:theirs").flow.type.name


def test_several_flows_are_listed(here: Path) -> None:
    name = module(here, TWO)

    with pytest.raises(FlowNotFound) as raised:
        load_flow(f"{name}.py")

    assert f"{name}.py has 2 flows:\n  {name}.py:first\n  {name}.py:second" == raised.value.message
    assert f"name one, e.g. {name}.py:first" == raised.value.hint


def test_unknown_flow_lists_those_there_are(here: Path) -> None:
    name = module(here, TWO)

    with pytest.raises(FlowNotFound) as raised:
        load_flow(f"{name}.py:frist")

    assert f"has no flow 'frist'. It has:\n  {name}.py:first" in raised.value.message
    assert f"did you mean {name}.py:first?" == raised.value.hint


def test_step_is_no_flow(here: Path) -> None:
    name = module(here, TWO)

    with pytest.raises(FlowNotFound, match=r"'one' in .* is not a flow"):
        load_flow(f"{name}.py:one")


def test_module_without_flows_says_so(here: Path) -> None:
    name = module(here, "n = 1")

    with pytest.raises(FlowNotFound, match="has no flow"):
        load_flow(f"{name}.py")


def test_missing_file_proposes_the_nearest(here: Path) -> None:
    (here / "codebase.py").write_text(ONE)

    with pytest.raises(FlowNotFound, match=r"there is no file codebas\.py") as raised:
        load_flow("codebas.py")

    assert "did you mean codebase.py?" == raised.value.hint


def test_missing_module_says_so(here: Path) -> None:
    with pytest.raises(FlowNotFound, match=r"there is no module 'no_such_module\.inner'"):
        load_flow("no_such_module.inner")


def test_file_that_no_worker_could_import_is_refused(here: Path) -> None:
    (here / "my-flow.py").write_text(ONE)

    with pytest.raises(FlowNotFound, match="'my-flow' is not the name of a module"):
        load_flow("my-flow.py")


def test_file_that_another_module_hides_is_refused(here: Path) -> None:
    """Otherwise the run would be made of other code than the file that was named."""
    (here / "json.py").write_text(ONE)

    with pytest.raises(FlowNotFound, match="json is another module"):
        load_flow("json.py")


def test_failing_import_shows_the_users_traceback_only(here: Path) -> None:
    name = module(here, "def broken():\n    return 1 / 0\n\nbroken()\n")

    with pytest.raises(FlowNotFound) as raised:
        load_flow(f"{name}.py")

    message = raised.value.message
    assert message.startswith(f"{name}.py cannot be imported:\n\nTraceback (most recent call last)")
    assert f'{name}.py", line 4, in <module>' in message
    assert message.endswith("ZeroDivisionError: division by zero")
    assert "importlib" not in message
    assert "flowq/entrypoints" not in message


def test_failing_import_inside_the_module_is_the_modules_failure(here: Path) -> None:
    """A library that is missing is not a missing flow."""
    name = module(here, "import no_such_library")

    with pytest.raises(FlowNotFound, match="No module named 'no_such_library'"):
        load_module(f"{name}.py")


@pytest.mark.parametrize(
    "source, words", [("def (:", "SyntaxError"), ("raise SystemExit(3)", "SystemExit: 3")]
)
def test_file_that_cannot_even_start_has_the_same_error(
    here: Path, source: str, words: str
) -> None:
    name = module(here, source)

    with pytest.raises(FlowNotFound, match=words):
        load_module(f"{name}.py")


def test_chained_errors_lose_the_machinery_too(here: Path) -> None:
    name = module(
        here, "try:\n    import no_such\nexcept ImportError as e:\n    raise ValueError from e"
    )

    with pytest.raises(FlowNotFound) as raised:
        load_module(f"{name}.py")

    assert "direct cause" in raised.value.message
    assert "importlib" not in raised.value.message


def test_definition_that_flowq_refuses_keeps_its_own_words(here: Path) -> None:
    name = module(here, "from flowq import flow\n@flow\ndef f(): yield\n")

    with pytest.raises(InvalidFlow, match=r"generator.*flows_\w+\.py:2"):
        load_module(f"{name}.py")


def test_function_of_a_flow_that_fails_shows_its_traceback(here: Path) -> None:
    name = module(here, TWO)
    flow = load_flow(f"{name}.py:second").flow

    with pytest.raises(InvalidFlow) as raised, tracing(flow):
        flow.spec(n=3)

    assert "ValueError: not 3" in raised.value.message
    assert "/flowq/authoring/" not in raised.value.message


def test_bug_of_flowq_is_not_blamed_on_the_user(here: Path) -> None:
    """An error without a frame of the user is ours, and its traceback is needed."""
    flow = load_flow(f"{module(here, ONE)}.py").flow

    with pytest.raises(TypeError), tracing(flow):
        flow.type.trace(None)  # type: ignore[arg-type]
