"""The registry knows steps and flows by name, and refuses two functions of one name."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flowq.core.errors import InvalidFlow
from flowq.core.spec import FlowSpec
from flowq.engine.registry.registry import RegisteredFlow, RegisteredStep, Registry


def work(value: int, *rest: int, **named: float) -> str:
    return f"{value} {rest} {named}"


async def nap() -> None: ...


def other(value: int) -> int:
    return value


def flow_type(name: str, **options: Any) -> RegisteredFlow:
    spec = FlowSpec(name=name, steps=())
    return RegisteredFlow(name, lambda _inputs: spec, lambda inputs: inputs, **options)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def loaded(file: Path, name: str) -> ModuleType:
    """Import a file under a name, as a script runs as `__main__` and is imported by its own."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_step_is_found_by_its_name(registry: Registry) -> None:
    made = RegisteredStep("work", work)
    registry.add_step(made)

    assert made is registry.step("work")


def test_unknown_step_says_what_to_do(registry: Registry) -> None:
    with pytest.raises(InvalidFlow, match="'work' is not defined on this worker") as caught:
        registry.step("work")

    assert caught.value.hint == "start workers with the module that defines it"


def test_two_functions_of_one_name_are_refused(registry: Registry) -> None:
    registry.add_step(RegisteredStep("work", work))

    with pytest.raises(InvalidFlow, match="two steps are named 'work'") as caught:
        registry.add_step(RegisteredStep("work", other))

    assert re.search(r"work \(\S+py:\d+\) and other \(\S+py:\d+\)", str(caught.value))
    assert registry.step("work").function is work


def test_a_reload_replaces_the_function(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "steps.py"
    file.write_text("def work(): ...\n")
    first, again = loaded(file, "steps").work, loaded(file, "steps").work
    registry.add_step(RegisteredStep("work", first))

    registry.add_step(RegisteredStep("work", again))

    assert registry.step("work").function is again


def test_a_script_that_is_imported_too_defines_one_step(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text("def work(): ...\n")
    main, imported = loaded(file, "as_main").work, loaded(file, "script").work
    registry.add_step(RegisteredStep("work", main))

    registry.add_step(RegisteredStep("work", imported))

    assert registry.step("work").function is imported


def test_same_name_in_another_file_is_another_function(registry: Registry, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("def work(): ...\n")
    registry.add_step(RegisteredStep("work", loaded(tmp_path / "one.py", "one").work))

    with pytest.raises(InvalidFlow, match=r"one\.py:1\) and work \(.*two\.py:1\)"):
        registry.add_step(RegisteredStep("work", loaded(tmp_path / "two.py", "two").work))


def test_the_newest_flow_of_a_name_counts(registry: Registry) -> None:
    registry.add_flow(flow_type("flow"))
    newest = flow_type("flow")

    registry.add_flow(newest)

    assert registry.flows["flow"] is newest


def test_listener_gets_every_name_known_or_to_come(registry: Registry) -> None:
    """A Celery app makes a task of each, installed before they are defined or after."""
    registry.add_step(RegisteredStep("work", work))
    registry.add_flow(flow_type("flow"))
    heard: list[str] = []

    forgotten: list[str] = []

    registry.on_name(heard.append, forgotten.extend)
    with registry.forgetting():
        registry.add_step(RegisteredStep("other", other))
        registry.add_flow(flow_type("late"))

    assert heard == ["work", "flow", "other", "late"]
    assert {"other", "late"} == set(forgotten)


def test_step_type_knows_its_function() -> None:
    made = RegisteredStep("work", work)

    assert not made.is_async
    assert RegisteredStep("nap", nap).is_async
    assert made.returns is str
    assert RegisteredStep("any", lambda: None).returns is Any
    assert list(made.signature.parameters) == ["value", "rest", "named"]


def test_variadic_parameters_are_checked_as_a_whole() -> None:
    parameters = RegisteredStep("work", work).parameters

    assert parameters["value"].validate_python("1") == 1
    assert parameters["rest"].validate_python(["1", 2]) == [1, 2]
    assert parameters["named"].validate_python({"x": "0.5"}) == {"x": 0.5}
    assert "return" not in parameters


def test_flow_resolves_its_annotation_late() -> None:
    """It may name a class that its module defines further down."""
    asked: list[str] = []

    def annotation() -> type[int]:
        asked.append("now")
        return int

    made = flow_type("flow", annotation=annotation)

    assert not asked
    assert made.returns is int
    assert flow_type("plain").returns is Any
