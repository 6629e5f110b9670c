"""Makes the commands of calls: of pages and attempts, of maps, of sinks.

A tool is rendered once, with the names of its first call; a page merges its fields into that, key
by key, so parameters that it does not name stay. A task of the workbook replaces its call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from flowq.playbooks.control.carrying import argument
from flowq.playbooks.control.commands import Command, work_of
from flowq.playbooks.control.names import Scope, names_of_loop
from flowq.playbooks.control.rendering import Fields, rendered, rendered_tool
from flowq.playbooks.control.state import Activation, ExecutionState, Item
from flowq.playbooks.control.values import fields_of
from flowq.playbooks.document.grammar.tools import ALIASES, PAYLOADS
from flowq.playbooks.document.models import Json, Playbook, Step, Task, Tool
from flowq.tools.text import TemplateFailed

_WORKBOOK: Final = "workbook"


@dataclass(slots=True)
class Calls:
    """Makes commands, with numbers that count up."""

    playbook: Playbook
    state: ExecutionState

    def prepare(
        self, activation: Activation, item: Item, step: Step, scope: Scope, *, is_map: bool = False
    ) -> None:
        """Render the tool of an item's call.

        Args:
            activation: Gets the task of the workbook that is called.
            item: Gets the tool, and the arguments of that task.
            step: Whose tool it is.
            scope: The names that the fields see.
            is_map: Whether the worker renders what needs the names of the loop.

        Raises:
            TemplateFailed: a field cannot be rendered, or no such task is in the workbook.
        """
        later = Fields(names_of_loop(step.loop) if is_map else ())
        tool = step.tool
        if tool.kind == _WORKBOOK:
            activation.task = self._task(tool, scope)
            tool = self._in_place(activation.task, tool, item, scope, later)
        item.tool = rendered_tool(tool, scope, later)

    def _task(self, tool: Tool, scope: Scope) -> Task:
        name = rendered(tool.config.get("task"), scope)
        task = self.playbook.task(name)
        if task is None:
            raise TemplateFailed(f"the workbook has no task {name!r}")
        return task

    @staticmethod
    def _in_place(task: Task, tool: Tool, item: Item, scope: Scope, later: Fields) -> Tool:
        """Return the tool of a task; the item gets its arguments, those of the call over them."""
        given = _mapping(rendered(tool.config.get("args"), scope, fields=later))
        own = _mapping(rendered(task.tool.config.get("args"), scope, fields=later))
        item.args = {**own, **item.args, **given}
        scope.args = scope.own["args"] = item.args
        config = {key: value for key, value in task.tool.config.items() if key != "args"}
        return Tool(task.tool.kind, config)

    def command(self, activation: Activation, item: Item, step: Step) -> Command:
        """Make the command of an item's current page and attempt."""
        assert item.tool is not None
        made = self._made(activation, item, merged(item.tool, item.overrides), step.name)
        self.state.step_attempts[step.name] = item.attempt
        task = activation.task
        return replace(
            made,
            timeout=step.timeout,
            queue=step.queue,
            retry=step.retry,
            expects=task.expects if task else (),
            returns=task.returns if task else (),
        )

    def map(self, activation: Activation, item: Item, step: Step) -> Command:
        """Make the one command of all items of a loop."""
        assert step.loop is not None
        assert activation.loop is not None
        return replace(
            self.command(activation, item, step),
            work="map",
            items=tuple(argument(activation.loop.values)),
            iterator=step.loop.iterator,
            max_concurrency=step.loop.max_concurrency,
            on_error=step.loop.on_error,
        )

    def sink(self, activation: Activation) -> Command:
        """Make the command of a sink."""
        assert activation.sink is not None
        item = Item(args=activation.sink.args)
        activation.items[None] = item
        return self._made(activation, item, activation.sink.tool, activation.step)

    def _made(self, activation: Activation, item: Item, tool: Tool, name: str) -> Command:
        self.state.commands += 1
        self.state.open[self.state.commands] = (activation.number, item.index)
        work = work_of(tool.kind)
        config = _with_payload(tool.config) if work == "child" else tool.config
        return Command(
            id=self.state.commands,
            execution_id=self.state.execution_id,
            step=name,
            tool=Tool(tool.kind, argument(config)),
            args=argument(item.args),
            attempt=item.attempt,
            page=item.page,
            item=item.index,
            work=work,
        )


def merged(tool: Tool, overrides: Mapping[str, Json]) -> Tool:
    """Return a tool with other fields in place of its own; mappings merge key by key."""
    aliases = ALIASES.get(tool.kind, {})
    config = {aliases.get(key, key): value for key, value in tool.config.items()}
    for alias, value in overrides.items():
        key = aliases.get(alias, alias)
        known, new = fields_of(config.get(key)), fields_of(value)
        config[key] = value if known is None or new is None else {**known, **new}
    return Tool(tool.kind, config)


def _with_payload(config: Mapping[str, Json]) -> dict[str, Json]:
    """Return the fields of a tool that runs a playbook, with those of its payload one by one.

    The arguments of the step are merged with them, so their names have to be known here.
    """
    payloads = {key: fields_of(config[key]) for key in PAYLOADS if key in config}
    return {**config, **{key: found for key, found in payloads.items() if found is not None}}


def _mapping(value: Json) -> dict[str, Json]:
    """Return the fields of a mapping; null has none.

    Raises:
        TemplateFailed: it is something else.
    """
    found = {} if value is None else fields_of(value)
    if found is None:
        raise TemplateFailed("args are no mapping")
    return found
