"""Rules that look at several keys at once: names that must exist, actions that exclude each other.

They are checked on documents whose shape may be wrong elsewhere, so that one report has all
problems; what cannot be recognised is passed over, since `grammar` has reported it.
"""

import ast
import base64
import difflib
import re
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, Final

from flowq.core.text.json_values import JsonPath
from flowq.playbooks.document.actions import PAGE_FIELDS
from flowq.playbooks.document.databases import check_sink, check_tool
from flowq.playbooks.document.report import Report
from flowq.playbooks.document.walking import (
    actions,
    cases,
    mappings,
    sinking,
    step_targets,
)

END: Final = "end"
#: Names of templates that no step and no iterator can take.
RESERVED: Final = frozenset(
    (
        *("event", "workload", "args", "ctx", "vars", "execution_id", "job", "response", "error"),
        *("result", "secret", "auth", "keychain", "loop", "loop_index", "range", "now", "uuid"),
    )
)
_EVENTS: Final = re.compile(
    r"\b(step\.enter|loop\.item|call\.done|call\.error|loop\.done|step\.exit)\b"
)
#: Events before a call, on which actions about a response make no sense.
_BEFORE: Final = frozenset(("step.enter", "loop.item"))


def check_rules(data: Any, report: Report) -> None:
    """Report what is wrong between the parts of a document."""
    if not isinstance(data, dict):
        return
    _check_path(data, report)
    _check_names(data, report)
    names = {str(step.get("step")) for _, step in mappings(data, "workflow")}
    tasks = {str(task.get("name")) for _, task in mappings(data, "workbook")}
    for path, task in mappings(data, "workbook"):
        _check_tools(task, path, frozenset(), report)
    for path, step in mappings(data, "workflow"):
        _check_targets(step, path, names, report)
        _check_tools(step, path, tasks, report)
        for at, case in cases(step, path):
            _check_case(case, at, report)
        if step.get("step") == END and "next" in step:
            report.problem(path, "the step 'end' is the last one; delete its 'next'", key="next")
    for path, owner in sinking(data):
        check_sink(owner["sink"], (*path, "sink"), data, report)
        _check_tools(owner["sink"], (*path, "sink"), tasks, report)
    _warn_unreachable(data, report)


def _check_path(data: dict[str, Any], report: Report) -> None:
    metadata = data.get("metadata")
    path = metadata.get("path") if isinstance(metadata, dict) else None
    if isinstance(path, str) and (path.startswith("/") or ".." in path.split("/")):
        report.problem(("metadata", "path"), "must not begin with '/' nor hold '..'")


def _check_names(data: dict[str, Any], report: Report) -> None:
    """Report names of steps and tasks that are not unique, or cannot be used."""
    for part, key in (("workflow", "step"), ("workbook", "name"), ("keychain", "name")):
        seen: dict[str, JsonPath] = {}
        for path, one in mappings(data, part):
            name = one.get(key)
            if not isinstance(name, str):
                continue
            if name in seen:
                text = f"the name {name!r} is taken by {part}[{seen[name][-1]}]; names are unique"
                report.problem((*path, key), text)
            seen.setdefault(name, path)
            if part == "workflow":
                _check_name(name, (*path, key), report)
                _check_iterator(one.get("loop"), path, report)
        if part == "workflow" and data.get(part) and "start" not in seen:
            report.problem((part,), "Workflow must have a step named 'start'")


def _check_name(name: str, path: JsonPath, report: Report) -> None:
    if "#" in name:
        report.problem(path, "must not hold '#'")
    if name in RESERVED:
        text = f"templates mean something else by {name!r}; its result cannot be named there"
        report.warning(path, text)


def _check_iterator(loop: Any, path: JsonPath, report: Report) -> None:
    name = loop.get("iterator") if isinstance(loop, dict) else None
    if isinstance(name, str) and name in RESERVED:
        report.warning((*path, "loop", "iterator"), f"hides what templates call {name!r} elsewhere")


def _check_targets(
    step: dict[str, Any], path: JsonPath, names: Collection[str], report: Report
) -> None:
    for at, name in step_targets(step, path):
        if name.strip() and name not in names and name != END:
            report.problem(at, f"references non-existent step {name!r}{_near(name, names)}")


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


# --- tools ---------------------------------------------------------------------------------------


def _check_tools(owner: Any, path: JsonPath, tasks: Collection[str], report: Report) -> None:
    """Check the tool of a step, a task or a sink."""
    tool = owner.get("tool") if isinstance(owner, dict) else None
    if not isinstance(tool, dict):
        return
    check_tool(tool, (*path, "tool"), report)
    if tool.get("kind") == "workbook":
        if path[-1] == "sink":
            report.problem((*path, "tool"), "a sink cannot call the workbook; write its tool here")
            return
        key = "task" if "task" in tool else "name"
        name = tool.get(key)
        if isinstance(name, str) and name not in tasks:
            text = f"the workbook has no task {name!r}{_near(name, tasks)}"
            if path[0] == "workbook":
                text = "a task of the workbook cannot call the workbook"
            report.problem((*path, "tool", key), text)
    if tool.get("kind") == "python":
        for key, why in _flaws_of_code(tool):
            report.problem((*path, "tool", key), why)


def _flaws_of_code(tool: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what prevents the code of a tool from running; a bare `return` is allowed."""
    for key in ("code", "code_b64"):
        code = tool.get(key)
        if not isinstance(code, str):
            continue
        try:
            source = code if key == "code" else base64.b64decode(code, validate=True).decode()
        except ValueError:
            yield key, "is no text in Base64"
            continue
        try:
            ast.parse(source)
        except SyntaxError as error:
            yield key, f"{error.msg} in line {error.lineno} of the code"
        except (ValueError, RecursionError, MemoryError) as error:
            yield key, f"is no Python: {error}"


# --- actions -------------------------------------------------------------------------------------


def _check_case(case: dict[str, Any], path: JsonPath, report: Report) -> None:
    then = (*path, "then")
    found = {name: value for _, name, value in actions(case.get("then"))}
    calls = "call" in found and not _is_branch(found["call"])
    for name in ("retry", "call"):
        if "next" in found and name in found and (name == "retry" or calls):
            text = f"{name!r} repeats this step and 'next' leaves it; write two entries"
            report.problem(then, text)
    if calls and "retry" in found:
        report.problem(then, "'call' and 'retry' both repeat this step; keep one of them")
    when = case.get("when")
    named = set(_EVENTS.findall(when)) if isinstance(when, str) else set()
    if named and named <= _BEFORE:
        senseless = [name for name in ("result", "retry") if name in found]
        for name in [*senseless, *(["call"] if calls else [])]:
            text = f"{name!r} makes no sense before a call; name 'call.done' in 'when'"
            report.problem(then, text)
    for at, name, value in actions(case.get("then"), then):
        if name == "collect":
            _check_collect(value, at, report)
        if name == "retry":
            _check_page(value, at, report)


def _is_branch(call: Any) -> bool:
    return isinstance(call, dict) and "step" in call


def _check_collect(value: Any, path: JsonPath, report: Report) -> None:
    if not isinstance(value, dict):
        return
    if "from" in value and "into" not in value:
        report.problem(path, "'into' is missing: the name in ctx that collects")
    if "from" in value and "path" in value:
        report.problem(path, "has 'from' and 'path'; keep one of them")


def _check_page(value: Any, path: JsonPath, report: Report) -> None:
    delays = {"initial_delay", "delay", "backoff_multiplier", "max_delay", "backoff"}
    if isinstance(value, dict) and PAGE_FIELDS & set(value) and delays & set(value):
        text = (
            "asks for another page, which has no delay; delete the delay, or the fields of the call"
        )
        report.problem(path, text)


# --- warnings ------------------------------------------------------------------------------------


def _warn_unreachable(data: dict[str, Any], report: Report) -> None:
    steps = {
        step["step"]: (path, step)
        for path, step in mappings(data, "workflow")
        if isinstance(step.get("step"), str)
    }
    reached, waiting = {"start", END}, deque(["start", END])
    while waiting:
        _, step = steps.get(waiting.popleft(), ((), {}))
        for _, name in step_targets(step):
            if name not in reached:
                reached.add(name)
                waiting.append(name)
    for name, (path, _) in steps.items():
        if name not in reached and "start" in steps:
            report.warning(path, "no step leads here; it never runs")
