"""Rewrites a checked document into the canonical plain form: one way to write each thing.

    next: sum                  ->  next: [{step: sum}]
    retry: 5 (at a step)       ->  the full mapping: attempts of one call, made by the engine
    retry with conditions      ->  a first entry of `case`
    loop.pagination            ->  two first entries of `case`
    then: {a mapping}          ->  a list of one-key mappings in the order in which they run

The input is not changed. Names that only sugar has (`iteration`, `accumulated`, `_retry.index`)
are rewritten in the text of templates, outside of quotes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flowq.playbooks.document.actions import Json
from flowq.playbooks.document.databases import tool_of_sink
from flowq.playbooks.document.grammar.shapes import without_delimiters
from flowq.playbooks.document.grammar.tools import ALIASES
from flowq.playbooks.document.walking import actions

_END: Final = "end"
#: Retries of a step, unless it says otherwise.
_ATTEMPTS: Final = {
    "max_attempts": 3,
    "initial_delay": 1,
    "backoff_multiplier": 2,
    "max_delay": 60,
}
_HALF: Final = 0.5
_DONE: Final = "event.name == 'call.done'"
_SUCCEEDED: Final = f"{_DONE} and error is not defined"
_FAILED: Final = f"{_DONE} and error is defined"
#: What a name of sugar means in the canonical form.
_PAGING: Final = {"iteration": "(event.page - 1)", "accumulated": "event.collected"}
_QUOTED_OR_NAME: Final = re.compile(
    r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|(?<![\w.])(?:_retry\.\w+|\w+)", re.DOTALL
)
#: The part of a text that is rendered.
_RENDERED: Final = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def canonical(data: Mapping[str, Json]) -> dict[str, Json]:
    """Return the canonical plain form of a checked document."""
    found = {key: value for key, value in data.items() if value is not None}
    if "workbook" in data:
        found["workbook"] = [_task(task) for task in data["workbook"]]
    found["workflow"] = [_step(step) for step in data["workflow"]]
    return found


def _task(task: Mapping[str, Json]) -> dict[str, Json]:
    found = dict(task)
    tool = dict(task["tool"])
    inner = tool.pop("assert", None)
    if inner and "assert" not in task:
        found["assert"] = inner
    found["tool"] = _tool(tool)
    if "sink" in task:
        found["sink"] = _sink(task["sink"])
    return found


def _step(step: Mapping[str, Json]) -> dict[str, Json]:
    found = dict(step)
    kind = _kind(step["tool"])
    found["tool"] = _tool(step["tool"])
    added: list[Json] = []
    if "loop" in step:
        found["loop"], paging = _loop(step["loop"], kind)
        added += paging
    found.pop("retry", None)
    if "retry" in step:
        policy, entries = _retry_of_step(step["retry"], kind)
        added = [*entries, *added]
        found |= {"retry": policy} if policy else {}
    written = [_case(case, kind) for case in step.get("case") or ()]
    if added or written:
        found["case"] = [*added, *written]
    if "next" in step:
        found["next"] = _transitions(step["next"])
    if "sink" in step:
        found["sink"] = _sink(step["sink"])
    if step["step"] == _END:
        found["join"] = "all"
    return found


# --- tools ---------------------------------------------------------------------------------------


def _kind(tool: Mapping[str, Json]) -> str:
    return "playbook" if tool["kind"] == "playbooks" else str(tool["kind"])


def _tool(tool: Mapping[str, Json]) -> dict[str, Json]:
    kind = _kind(tool)
    return {"kind": kind, **_fields({k: v for k, v in tool.items() if k != "kind"}, kind)}


def _fields(config: Mapping[str, Json], kind: str) -> dict[str, Json]:
    """Return the fields of a tool, or changes of them, by the names of the canonical form."""
    aliases = ALIASES.get(kind, {})
    return {aliases.get(key, key): value for key, value in config.items()}


def _sink(sink: Mapping[str, Json]) -> dict[str, Json]:
    found = {key: sink[key] for key in ("args", "on_error") if key in sink}
    return {"tool": _tool(sink["tool"]) if "tool" in sink else tool_of_sink(sink), **found}


# --- transitions and actions ---------------------------------------------------------------------


def _transitions(to: Json) -> list[Json]:
    many = to if isinstance(to, list) else [to]
    return [{"step": one} if isinstance(one, str) else one for one in many]


def _case(case: Mapping[str, Json], kind: str) -> dict[str, Json]:
    then = plain_actions(case["then"], kind)
    return {"when": without_delimiters(case["when"]), "then": then}


def plain_actions(then: Json, kind: str) -> list[Json]:
    """Return the actions of a checked `then` as a list of one-key mappings, as they run."""
    return [_action(name, value, kind) for _, name, value in actions(then)]


def _action(name: str, value: Json, kind: str) -> dict[str, Json]:
    match name:
        case "set":
            value = _set(value)
        case "collect":
            value = _collect(value)
        case "call" if "step" not in value:
            value = _fields(value, kind)
        case "retry":
            value = _retry(value, kind)
        case "sink":
            value = _sink(value)
        case "next":
            value = _transitions(value)
        case "fail" if isinstance(value, str):
            value = {"message": value}
        case "skip" if not isinstance(value, dict):
            value = {"reason": value} if isinstance(value, str) else {}
    return {name: value}


def _set(value: Json) -> Json:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return {"ctx": {one["name"]: one["value"] for one in value}}
    parts = [value.get("ctx", {}), value.get("flags", {})]
    if value and set(value) <= {"ctx", "flags"} and all(isinstance(one, dict) for one in parts):
        return dict(value)
    return {"ctx": dict(value)}


def _collect(value: Mapping[str, Json]) -> dict[str, Json]:
    mode = value.get("mode") or value.get("strategy") or "append"
    mode = "append" if mode == "collect" else mode
    into = {"into": value["into"]} if "into" in value else {}
    if "from" in value:
        return {"from": value["from"], **into, "mode": mode}
    path = {"path": value["path"]} if "path" in value else {}
    return {**path, **into, "strategy": mode}


def _retry(value: Json, kind: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        return {} if value is True else {"max_attempts": value}
    found = _fields(value, kind)
    if "delay" in found:
        delay = found.pop("delay")
        found.setdefault("initial_delay", delay)
    return found


# --- retries of a step ---------------------------------------------------------------------------


def _retry_of_step(retry: Json, kind: str) -> tuple[dict[str, Json] | None, list[Json]]:
    """Return the policy of the engine, or entries of `case`."""
    if retry is False or retry is None:
        return None, []
    if isinstance(retry, list):
        return None, [_retry_rule(rule, kind) for rule in retry]
    given = retry if isinstance(retry, dict) else {}
    given = {"max_attempts": retry} if type(retry) is int else given
    policy = {key: given.get(key, default) for key, default in _ATTEMPTS.items()}
    conditions = [
        f"{prefix}({without_delimiters(given[key])})"
        for key, prefix in (("retry_when", ""), ("stop_when", "not "))
        if key in given
    ]
    if conditions:
        when = " and ".join([_occasion(" ".join(conditions)), *conditions])
        return None, [{"when": when, "then": [{"retry": policy}]}]
    jitter = given.get("jitter", True)
    policy["jitter"] = {True: _HALF, False: 0}[jitter] if isinstance(jitter, bool) else jitter
    return policy, []


def _occasion(conditions: str) -> str:
    """Return the event that conditions are about: a success if they name the response alone."""
    names = set(re.findall(r"\w+", conditions))
    return _SUCCEEDED if names & {"response", "result"} and "error" not in names else _FAILED


def _retry_rule(rule: Mapping[str, Json], kind: str) -> dict[str, Json]:
    """Return the entry of `case` for `{when, then: {max_attempts, next_call, collect, sink}}`."""
    then, when = rule["then"], without_delimiters(rule["when"])
    is_page = "next_call" in then
    count = "event.page" if is_page else "event.attempt"
    names = {"_retry.index": count, "_retry.count": f"({count} - 1)"}
    actions_: list[Json] = []
    if "collect" in then:
        actions_.append({"collect": _collect(then["collect"])})
    if is_page:
        changes = _fields(_renamed(then["next_call"], names), kind)
        most = {"max_attempts": then["max_attempts"]} if "max_attempts" in then else {}
        actions_.append({"retry": {**changes, **most}})
    else:
        delays = {key: then[key] for key in _ATTEMPTS if key in then}
        actions_.append({"retry": delays})
    if "sink" in then:
        actions_.append({"sink": _sink(then["sink"])})
    occasion = _SUCCEEDED if is_page else _occasion(when)
    return {"when": f"{occasion} and ({_name(when, names)})", "then": actions_}


# --- pagination ----------------------------------------------------------------------------------


def _loop(loop: Mapping[str, Json], kind: str) -> tuple[dict[str, Json], list[Json]]:
    """Return a loop without pagination, and the entries of `case` that stand for it."""
    found = {key: value for key, value in loop.items() if key != "pagination"}
    if found.get("mode") == "async":
        found["mode"] = "parallel"
    return found, list(_paging(loop["pagination"], kind)) if "pagination" in loop else []


def _paging(block: Mapping[str, Json], kind: str) -> Iterator[Json]:
    if "retry" in block:
        yield {"when": _FAILED, "then": [{"retry": _retry(block["retry"], kind)}]}
    path = {"path": block["merge_path"]} if "merge_path" in block else {}
    mode = block.get("merge_strategy", "append")
    collect = {"collect": _collect({**path, "strategy": mode})}
    goes_on = _name(without_delimiters(block["continue_while"]), _PAGING)
    changes = _fields(_renamed(block["next_page"], _PAGING), kind)
    page = {"retry": {**changes, "max_attempts": block.get("max_iterations", 1000)}}
    yield {"when": f"{_SUCCEEDED} and ({goes_on})", "then": [collect, page]}
    yield {"when": _SUCCEEDED, "then": [collect]}


def _renamed(value: Json, names: Mapping[str, str]) -> Any:
    """Return data with names replaced in the templates of its texts."""
    if isinstance(value, str):
        return _RENDERED.sub(lambda part: _name(part[0], names), value)
    if isinstance(value, dict):
        return {key: _renamed(one, names) for key, one in value.items()}
    return [_renamed(one, names) for one in value] if isinstance(value, list) else value


def _name(expression: str, names: Mapping[str, str]) -> str:
    return _QUOTED_OR_NAME.sub(lambda part: names.get(part[0], part[0]), expression)
