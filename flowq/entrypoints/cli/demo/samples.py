"""What a demo runs: a sample flow or a sample playbook; its result, and what to type next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from rich.markdown import Markdown
from rich.text import Text

import flowq
from flowq import client
from flowq.client import Run
from flowq.core.errors import FlowNotFound
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.app import environment
from flowq.entrypoints.cli.app.loading import load_flow
from flowq.entrypoints.cli.display import console as looks

#: What is typed for the sample playbook.
PLAYBOOK: Final = "playbook"
_PLAYBOOK: Final = "playbooks/cities.yaml"
_SHOWN_LINES: Final = 34


@dataclass(frozen=True)
class Sample:
    """The sample flow.

    Attributes:
        module: Its name for workers that import it.
        target: Its name on the command line.
        root: The folder that must be importable.
        playbook: The file of the sample playbook.
    """

    module: str
    target: str
    root: Path
    playbook: Path


def find_sample() -> Sample:
    """Return the sample: from the current folder, the repository, or the package.

    Raises:
        FlowNotFound: it was not installed.
    """
    package = Path(flowq.__file__).parent
    for root in (Path.cwd(), package.parent):
        file = root / "examples" / "codebase.py"
        if file.is_file():
            target = f"{environment.relative(file)}:codebase"
            return Sample("examples.codebase", target, root, file.parent / _PLAYBOOK)
    folder = package / "examples"
    if (folder / "codebase.py").is_file():
        target = "flowq.examples.codebase:codebase"
        return Sample("flowq.examples.codebase", target, package.parent, folder / _PLAYBOOK)
    raise FlowNotFound(
        "the sample flow examples/codebase.py is not installed",
        hint="get flowq's sources and type: make demo",
    )


class Shown(Protocol):
    """A sample that a demo runs."""

    def start(self) -> Run[Any]:
        """Start a run of it."""

    def print_result(self, run: Run[Any]) -> None:
        """Print the result of a run that has completed."""

    def next_commands(self, run: Run[Any], *, keep: bool) -> Mapping[str, str]:
        """Return what can be typed next, and what it does."""


class SampleFlow:
    """The flow that reports on the Python code in a folder.

    Args:
        sample: Where it is.
        folder: The folder; None for the standard library.
    """

    def __init__(self, sample: Sample, folder: str | None) -> None:
        self._sample = sample
        self._folder = folder

    def start(self) -> Run[Any]:
        """Start a run of it."""
        flow = load_flow(f"{self._sample.module}:codebase").flow
        given = {} if self._folder is None else {"folder": str(Path(self._folder).resolve())}
        return client.submit(flow.type, given)

    def print_result(self, run: Run[Any]) -> None:
        """Print the head of the report."""
        _print_report(run.result())

    def next_commands(self, run: Run[Any], *, keep: bool) -> Mapping[str, str]:
        """Return what can be typed next, and what it does."""
        flowq_, file = looks.program(), self._sample.target.partition(":")[0]
        target = self._sample.target
        commands = {
            f"{flowq_} runs show {run.id}": "every step, its attempts, time and errors",
            f"{flowq_} runs result {run.id} --json > report.json": "all of the result",
            f"{flowq_} graph {target}": "the steps of the flow",
            f"{flowq_} worker {file}": "a worker that keeps running, in one terminal",
            f"{flowq_} run {target} -p folder=. --wait": "your own run, in another terminal",
        }
        if not keep:
            commands[f"{flowq_} flower {file}"] = "every run, on http://localhost:5555/flows"
        return commands


class SamplePlaybook:
    """The playbook that fans out over cities and joins.

    Args:
        sample: Where it is.
    """

    def __init__(self, sample: Sample) -> None:
        self._file = sample.playbook

    def start(self) -> Run[Any]:
        """Start an execution of it."""
        from flowq.playbooks.building import Playbook  # noqa: PLC0415 - only for this sample

        return Playbook.parse(self._file.read_bytes(), name=str(self._file)).enqueue()

    def print_result(self, run: Run[Any]) -> None:
        """Print the result of the last step."""
        looks.note("")
        looks.print_json(run.result()["result"])

    def next_commands(self, run: Run[Any], *, keep: bool) -> Mapping[str, str]:
        """Return what can be typed next, and what it does."""
        flowq_, file = looks.program(), environment.relative(self._file)
        commands = {
            f"{flowq_} playbook graph {file}": "its steps, and what leads from one to another",
            f"{flowq_} playbook events {run.id}": "what has happened, in order",
            f"{flowq_} worker": "a worker that keeps running, in one terminal",
            f"{flowq_} playbook run {file} -p limit=40 --wait": "your own run, in another terminal",
        }
        if not keep:
            commands[f"{flowq_} flower"] = "every run, on http://localhost:5555/flows"
        return commands


def _print_report(report: Any) -> None:
    """Print the head of the report."""
    lines = report.markdown.splitlines()
    head = _whole_sections(lines)
    console = looks.out(lines=True)
    looks.note("")
    if console.is_terminal:
        console.print(Markdown("\n".join(head)))
    else:
        console.print(Text("\n".join(head)), soft_wrap=True)
    rest = f"… {len(lines) - len(head)} more lines, and" if len(lines) > len(head) else "… and"
    table = formatting.size(len(report.definitions.encode()))
    count = formatting.count(report.definitions.count("\n"))
    looks.note("")
    looks.note((f"{rest} a table of {count} lines, {table}", "dim"))


def _whole_sections(lines: Sequence[str]) -> Sequence[str]:
    """Return the first whole sections of a Markdown text."""
    if len(lines) <= _SHOWN_LINES:
        return lines
    ends = [number for number in range(2, _SHOWN_LINES + 1) if lines[number].startswith("## ")]
    return lines[: ends[-1] - 1 if ends else _SHOWN_LINES]


def print_next(commands: Mapping[str, str]) -> None:
    """Print what can be typed next."""
    looks.note("")
    looks.note(("What to try next", "bold"))
    looks.note("")
    for command, purpose in commands.items():
        looks.note(f"  {command}")
        looks.note((f"      {purpose}", "dim"))
