"""Compiles a blueprint to a playbook, or says all that is wrong with it.

    start                   `noop`; its inputs are the workload, and become variables
    step, tool, model       a call; a result that is a mapping becomes variables, or all of it one
    variable                `noop` that sets variables
    conditional             `noop` whose entries of `case` are its edges
    loop                    `noop` with a counter; one entry for its body, one for its exit
    delay                   `delay`
    error_handler           `noop` that entries on `error` of other steps lead to
    end                     the step `end`; its result is the output of the instance

Variables are the `ctx` of the playbook. Several edges out of a node begin branches; a node that
several nodes lead to waits for all of them (`join: all`).
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowq.playbooks.blueprints.conditions import InvalidCondition, expression
from flowq.playbooks.blueprints.graph import END, HANDLER, START, Graph, is_else, problems, word
from flowq.playbooks.blueprints.models import Blueprint, Edge, EndNode, Node
from flowq.playbooks.blueprints.problems import InvalidBlueprint, Problem
from flowq.playbooks.control.names import SECRET_NAMES
from flowq.playbooks.document.checking import check
from flowq.playbooks.document.models import API_VERSION, Json, Playbook
from flowq.playbooks.document.sugar import canonical
from flowq.tools.text import InvalidTemplate, compile_text

#: Begins the paths of the playbooks of blueprints, which are the names of their runs.
PREFIX: Final = "blueprints/"
#: The variable that counts calls of `tool` nodes.
TOOL_CALLS: Final = "tool_calls"
#: The variable with the iterations of a loop: in its body from 1, in its condition from 0.
ITERATION: Final = "iteration"
#: The variable with the output that one of several ends has made; no blueprint can name it.
_OUTPUT: Final = "instance.output"
_EXIT: Final = "event.name == 'step.exit'"
_ENTERED: Final = "event.name == 'step.enter'"
_FAILED: Final = "event.name in ['call.error', 'step.exit'] and error is defined"
_OF_CALL: Final = ("retry", "timeout", "queue")
_STEP: Final = re.compile(r"workflow\[(\d+)\]\.?(.*)")


def compiled(blueprint: Blueprint, known_steps: Collection[str] = ()) -> Playbook:
    """Return the playbook of a blueprint.

    Args:
        blueprint: Its shape is right; see `models.read`.
        known_steps: The step types of this process; `memory` and `retrieval` need theirs.

    Raises:
        InvalidBlueprint: it cannot run; has all problems.
    """
    if not blueprint.nodes:
        raise InvalidBlueprint([Problem("nodes", _lacking(blueprint))])
    found = list(problems(blueprint, known_steps))
    steps = _Steps(blueprint)
    data = steps.document()
    found += steps.problems
    if not found:
        found += [steps.placed(one.path, one.message) for one in check(data)[0]]
    if found:
        raise InvalidBlueprint(found)
    return Playbook.of(canonical(data))


def _lacking(blueprint: Blueprint) -> str:
    """Return what a draft needs before it can run."""
    parts = ["a node of the type 'start', and those that it leads to"]
    for key, kind in (("required_tools", "tool"), ("required_retrievers", "retrieval")):
        wanted = blueprint.config.get(key)
        names = [str(one) for one in wanted] if isinstance(wanted, list) else []
        if names:
            parts.append(f"nodes of the type {kind!r} for {', '.join(names)}")
    return f"there are none, so it cannot run; it lacks {'; '.join(parts)}"


@dataclass
class _Steps:
    """Makes the steps of the playbook, one for each node, and collects problems of conditions."""

    blueprint: Blueprint

    def __post_init__(self) -> None:
        self.graph = Graph(self.blueprint)
        self.problems: list[Problem] = []
        # By identity: of two nodes with one id, each has a place of its own.
        self._places = {id(one): at for at, one in enumerate(self.blueprint.nodes)}
        self._places |= {id(one): at for at, one in enumerate(self.blueprint.edges)}
        self._ends = self.graph.of_type(END)
        self._nodes = list(self.graph.nodes.values())
        self._made: list[Node | None] = []  # the node of each step

    def document(self) -> dict[str, Json]:
        """Return the playbook, in the plain form."""
        steps = []
        for node in self._nodes:
            if node.type != END or self._is_one_of_several(node):
                steps.append(self._step(node))
                self._made.append(node)
        steps.append(self._end())
        self._made.append(self._ends[0] if len(self._ends) == 1 else None)
        name = self.blueprint.name
        description = self.blueprint.description.strip()
        workload: dict[str, Json] = {}
        for node in self.graph.of_type(START):
            workload |= node.config.inputs
        # The path of a playbook has no empty or relative parts.
        metadata = {"name": name, "path": f"{PREFIX}{name.replace('/', ' ')}"[:200]}
        return {
            "apiVersion": API_VERSION,
            "kind": "Playbook",
            "metadata": metadata | ({"description": description} if description else {}),
            "workload": workload,
            "workflow": steps,
        }

    def placed(self, path: str, message: str) -> Problem:
        """Return a problem of the playbook as one of the blueprint."""
        found = _STEP.fullmatch(path)
        node = self._made[int(found[1])] if found else None
        if found is None or node is None:
            return Problem("", f"{path}: {message}")
        rest = found[2].removeprefix("tool.") if node.type != "tool" else found[2]
        if rest == "step":
            return Problem(f"nodes[{self._at(node)}].id", message)
        return Problem(f"nodes[{self._at(node)}].config{'.' * bool(rest)}{rest}", message)

    def _at(self, node: Node) -> int:
        return self._places[id(node)]

    def _is_one_of_several(self, node: Node) -> bool:
        """Return whether an end is a step of its own, since others have other outputs."""
        return isinstance(node, EndNode) and len(self._ends) > 1 and node.config.output is not None

    # --- names and transitions ----------------------------------------------------------------

    def _name(self, node: Node) -> str:
        if node.type == START:
            return START
        if node.type != END:
            return node.id
        return f"{node.id}.output" if self._is_one_of_several(node) else END

    def _to(self, edges: Sequence[Edge]) -> list[Json]:
        """Return the steps that edges lead to; nothing leads to the end."""
        names = [self._name(self.graph.nodes[edge.target]) for edge in edges]
        return list(dict.fromkeys(names)) or [END]

    def _next(self, node: Node) -> list[Json]:
        handled = (
            self.graph.nodes[edge.target].type == HANDLER for edge in self.graph.out[node.id]
        )
        pairs = zip(self.graph.out[node.id], handled, strict=True)
        return self._to([edge for edge, is_handler in pairs if not is_handler])

    def _condition(self, text: str, path: str) -> str:
        try:
            return expression(text)
        except InvalidCondition as error:
            self.problems.append(Problem(path, str(error)))
            return "false"

    # --- steps --------------------------------------------------------------------------------

    def _step(self, node: Node) -> dict[str, Json]:
        """Return the step of a node."""
        made: dict[str, Json] = {"step": self._name(node), "tool": {"kind": "noop"}}
        label = (node.__pydantic_extra__ or {}).get("label")
        if isinstance(label, str) and label.strip():
            made["desc"] = label
        if node.type != HANDLER and len(self.graph.sources[node.id]) > 1:
            made["join"] = "all"
        case = list(self._case(node, made))
        if node.type not in ("conditional", "loop"):
            made["next"] = self._next(node)
        return made | ({"case": case} if case else {})

    def _without_secrets(self, node: Node, value: Json, *path: str) -> Json:
        """Return a value that does not go to a worker, after it was checked to name no secret."""
        if named := sorted(_names(value) & SECRET_NAMES):
            text = f"{named[0]!r} is known to workers only; name it in `args` of what needs it"
            self.problems.append(Problem.at(("nodes", self._at(node), "config", *path), text))
        return value

    def _case(self, node: Node, made: dict[str, Json]) -> Iterator[Json]:
        """Yield the entries of a step; adds what else the type of the node asks for."""
        match node.type:
            case "start":
                yield _on_exit({"set": "{{ workload }}"})
            case "end":
                output = self._without_secrets(node, node.config.output, "output")
                made["args"] = {"output": output}
                yield _on_exit({"set": {"ctx": {_OUTPUT: "{{ args.output }}"}}})
            case "variable":
                given = self._without_secrets(node, dict(node.config.given))
                yield _on_exit({"set": {"ctx": given, "flags": {}}})
            case "error_handler":
                yield _on_exit({"set": {"ctx": {node.config.output: "{{ args.error }}"}}})
            case "delay":
                made["tool"] = {"kind": "delay", "seconds": node.config.seconds}
            case "conditional":
                yield from self._choices(node)
            case "loop":
                yield from self._rounds(node)
            case _:
                yield from self._call(node, made)

    def _call(self, node: Any, made: dict[str, Json]) -> Iterator[Json]:
        config = node.config
        made["tool"] = tool = _tool(node)
        if config.args is not None:
            made["args"] = config.args
        made |= {key: getattr(config, key) for key in _OF_CALL if getattr(config, key) is not None}
        if handler := self.graph.handler_of(node):
            to = {"step": handler, "args": {"error": "{{ error }}"}}
            yield {"when": _FAILED, "then": [{"next": [to]}]}
        count = f"{{{{ (ctx.{TOOL_CALLS} | default(0)) + 1 }}}}"
        counted = [{"set": {"ctx": {TOOL_CALLS: count}}}] if node.type == "tool" else []
        output = config.output or ("response" if node.type == "model" else None)
        if output is not None:
            yield _on_exit({"set": {"ctx": {output: "{{ result }}"}}}, *counted)
            return
        result = "result.data" if tool.get("kind") == "http" else "result"
        yield _on_exit({"set": f"{{{{ {result} }}}}"}, *counted, when=f"{result} is mapping")
        if counted:
            yield _on_exit(*counted)

    def _choices(self, node: Any) -> Iterator[Json]:
        edges = self.graph.out[node.id]
        groups: dict[str, list[Edge]] = {}
        otherwise: list[Edge] = []
        if node.config.condition is not None:
            path = f"nodes[{self._at(node)}].config.condition"
            chosen = self._condition(node.config.condition, path)
            groups[chosen] = [edge for edge in edges if word(edge.condition) == "true"]
            otherwise = [edge for edge in edges if word(edge.condition) != "true"]
        else:
            for edge in edges:
                if is_else(edge.condition):
                    otherwise.append(edge)
                else:
                    path = f"edges[{self._places[id(edge)]}].condition"
                    chosen = self._condition(edge.condition or "", path)
                    groups.setdefault(chosen, []).append(edge)
        for chosen, many in groups.items():
            yield _on_exit({"next": self._to(many)}, when=chosen)
        yield _on_exit({"next": self._to(otherwise)})

    def _rounds(self, node: Any) -> Iterator[Json]:
        config, (body, leave) = node.config, self.graph.sides(node.id)
        # JSON quotes a key as templates do.
        counter = f"{node.id}.{ITERATION}"
        known = f"(ctx[{json.dumps(counter, ensure_ascii=False)}] | default(0))"
        goes_on = f"{known} < {config.max_iterations}"
        if config.condition is not None:
            path = f"nodes[{self._at(node)}].config.condition"
            goes_on += f" and ({self._condition(config.condition, path)})"
        # Its condition sees its own iterations, also after those of a loop inside of it.
        yield {"when": _ENTERED, "then": [{"set": {"ctx": {ITERATION: f"{{{{ {known} }}}}"}}}]}
        count = f"{{{{ {known} + 1 }}}}"
        again = {"set": {"ctx": {counter: count, ITERATION: count}}}
        yield _on_exit(again, {"next": self._to(body)}, when=goes_on)
        yield _on_exit({"set": {"ctx": {counter: 0}}}, {"next": self._to(leave)})

    def _end(self) -> dict[str, Json]:
        made: dict[str, Json] = {"step": END, "tool": {"kind": "noop"}}
        if len(self._ends) == 1 and self._ends[0].config.output is not None:
            output = self._without_secrets(self._ends[0], self._ends[0].config.output, "output")
            return made | {
                "args": {"output": output},
                "result": {"from": "args.output"},
            }
        if any(map(self._is_one_of_several, self._ends)):
            source = f"ctx['{_OUTPUT}'] if ctx['{_OUTPUT}'] is defined else ctx"
            return made | {"result": {"from": f"{{{{ {source} }}}}"}}
        return made | {"result": {"from": "ctx"}}


def _names(value: Json) -> set[str]:
    """Return the names that the templates in a value use."""
    if isinstance(value, str):
        try:
            return set(compile_text(value, blocks=True).names)
        except InvalidTemplate:
            return set()  # is reported with the playbook
    parts = value.values() if isinstance(value, Mapping) else value
    return set().union(*map(_names, parts)) if isinstance(value, Mapping | list) else set()


def _on_exit(*then: Json, when: str | None = None) -> dict[str, Json]:
    return {"when": f"{_EXIT} and ({when})" if when else _EXIT, "then": list(then)}


def _tool(node: Any) -> dict[str, Json]:
    """Return the tool of a node that calls something."""
    config = node.config
    if node.type == "model":
        known: Mapping[str, Json] = config.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={"args", "output", *_OF_CALL}
        )
        return {"kind": "llm", **known}
    if node.type == "tool" and config.tool is not None:
        return dict(config.tool)
    fill = {"fill": "{{ ctx }}"} if config.args is None else {}
    return {"kind": "step", "name": config.slug or node.type, **fill}
