"""Playbooks in Python: read from a text or from data, or built of steps.

    book = Playbook.new("prices").add(
        Step("start", http("GET", "https://example.org/prices"), next="sum"),
        Step("sum", python(total), args={"rows": "{{ start.data }}"}),
    )

Every `Playbook` is valid: what is built is checked as what is read is, so steps that name each
other are added in one call.
"""

import ast
import builtins
import dis
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, Self, Unpack

from flowq.core.errors import InvalidInput
from flowq.engine.runs.options import SubmitOptions
from flowq.playbooks.document import models
from flowq.playbooks.document.checking import check, in_order
from flowq.playbooks.document.models import Json
from flowq.playbooks.document.problems import NOWHERE, InvalidPlaybook, Place, Problem
from flowq.playbooks.document.reading import read
from flowq.playbooks.document.sugar import canonical

if TYPE_CHECKING:
    from flowq.authoring.definitions.flows import AsyncFlow
    from flowq.playbooks.running.handle import PlaybookRun

#: What is said of a function whose source is not that of one function.
_ONE_FUNCTION = "give a function that `def` defines, or its code as text"


class Step:
    """A step that is being built; its keys are those of a step in YAML, with all their forms.

    Args:
        name: Its name.
        tool: What it calls, see `http`, `python` and `tool`.
        keys: The other keys: `args`, `loop`, `case`, `next`, `retry`, …
    """

    def __init__(self, name: str, tool: Mapping[str, Json], **keys: Json) -> None:
        self.data: dict[str, Json] = {"step": name, "tool": dict(tool), **keys}


class Playbook(models.Playbook):
    """A document that was read or built, and checked."""

    @classmethod
    def parse(
        cls, source: str | bytes, *, compat: bool = False, name: str = "playbook.yaml"
    ) -> Self:
        """Read a document; see `flowq.playbooks.parser.load`.

        Raises:
            InvalidPlaybook: it is wrong; has all problems.
        """
        done = read(source, compat=compat, name=name)
        return cls.checked(done.data, done.places, done.problems, compat=compat, name=name)[0]

    @classmethod
    def checked(
        cls,
        data: Json,
        places: Place = NOWHERE,
        unread: Sequence[Problem] = (),
        *,
        compat: bool = False,
        name: str = "",
    ) -> tuple[Self, tuple[Problem, ...]]:
        """Check a document that is data already; return it with its warnings.

        Args:
            data: The document.
            places: The places of its values; without, problems have paths and no lines.
            unread: What was found wrong before.
            compat: Whether unknown keys are warnings.
            name: The file, for messages.

        Raises:
            InvalidPlaybook: it is wrong; has all problems.
        """
        problems, warnings = check(data, places, compat=compat)
        if found := in_order([*unread, *problems]):
            raise InvalidPlaybook(found, name)
        return cls.of(canonical(data)), tuple(warnings)

    @classmethod
    def new(
        cls,
        name: str,
        *,
        path: str | None = None,
        workload: Mapping[str, Json] | None = None,
        workbook: Sequence[Mapping[str, Json]] = (),
        keychain: Sequence[Mapping[str, Json]] = (),
        **metadata: Json,
    ) -> "Draft":
        """Begin a playbook, to which steps are added."""
        return Draft(
            {
                "apiVersion": models.API_VERSION,
                "kind": "Playbook",
                "metadata": {"name": name, **({"path": path} if path else {}), **metadata},
                "workload": dict(workload or {}),
                "workbook": list(workbook),
                "keychain": list(keychain),
            }
        )

    def enqueue(
        self,
        payload: Mapping[str, Json] | None = None,
        *,
        execution_id: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> "PlaybookRun":
        """Start an execution on workers; see `flowq.playbooks.running.submitting.enqueue`."""
        # Reading a document loads neither Celery nor a database.
        from flowq.playbooks.running import submitting  # noqa: PLC0415 - see above

        return submitting.enqueue(self, payload, execution_id=execution_id, **options)

    async def aenqueue(
        self,
        payload: Mapping[str, Json] | None = None,
        *,
        execution_id: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> "PlaybookRun":
        """As `enqueue`, without blocking the event loop."""
        from flowq.playbooks.running import submitting  # noqa: PLC0415 - as in `enqueue`

        return await submitting.aenqueue(self, payload, execution_id=execution_id, **options)

    @property
    def flow(self) -> "AsyncFlow[..., dict[str, Any]]":
        """The playbook as a flow with the inputs `payload` and `execution_id`; for tests."""
        from flowq.playbooks.running import submitting  # noqa: PLC0415 - as in `enqueue`

        return submitting.as_flow(self)

    def add(self, *steps: Step) -> "Playbook":
        """Return this playbook with more steps."""
        data = self.to_dict()
        return _with_steps(data, data["workflow"], steps)


@dataclass(frozen=True, slots=True)
class Draft:
    """A playbook that has no steps yet."""

    data: dict[str, Json]

    def add(self, *steps: Step) -> Playbook:
        """Return the playbook with these steps.

        Raises:
            InvalidPlaybook: it is wrong; its problems have paths, and no lines.
        """
        return _with_steps(self.data, [], steps)


def _with_steps(data: dict[str, Json], known: list[Json], steps: Sequence[Step]) -> Playbook:
    workflow = [*known, *(step.data for step in steps)]
    return Playbook.checked({**data, "workflow": workflow}, name="")[0]


# --- tools ---------------------------------------------------------------------------------------


def tool(kind: str, **fields: Json) -> dict[str, Json]:
    """Return a tool of any kind."""
    return {"kind": kind, **fields}


def http(method: str, endpoint: str, **fields: Json) -> dict[str, Json]:
    """Return a tool that makes a request."""
    return tool("http", method=method, endpoint=endpoint, **fields)


def python(code: str | Callable[..., Any], **fields: Json) -> dict[str, Json]:
    """Return a tool that runs Python: a text, or a function, whose source is taken.

    The function runs where nothing of its module is: it imports what it needs in its body.

    Raises:
        InvalidInput: its source cannot be found, or it uses names of its module.
    """
    return tool("python", code=code if isinstance(code, str) else _source(code), **fields)


def _source(function: Callable[..., Any]) -> str:
    """Return the source of a function, which is called `main` in it."""
    name = getattr(function, "__name__", repr(function))
    if not inspect.isfunction(function):
        raise InvalidInput(f"{name!r} is no function", hint=_ONE_FUNCTION)
    try:
        source = textwrap.dedent(inspect.getsource(function))
        [node] = ast.parse(source).body
    except (OSError, SyntaxError, ValueError):
        raise InvalidInput(f"the source of {name!r} cannot be found", hint=_ONE_FUNCTION) from None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.decorator_list:
        raise InvalidInput(f"{name!r} is no plain function", hint=_ONE_FUNCTION)
    defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
    in_defaults = {
        one.id for each in defaults for one in ast.walk(each) if isinstance(one, ast.Name)
    }
    used = _names_outside(function.__code__) | in_defaults - set(dir(builtins))
    if foreign := sorted({*used, *function.__code__.co_freevars} - {name}):
        hint = "import or define it inside of the function, or pass it in `args`"
        raise InvalidInput(f"{name!r} uses names of its module: {', '.join(foreign)}", hint=hint)
    # The head is `def name(`: in the first line of the function, after its keyword.
    head, _, rest = source.partition(f"def {name}")
    renamed = f"{head}def main{rest}".rstrip("\n") + "\n"
    if function.__annotations__:  # they may name what only the module has
        renamed = f"from __future__ import annotations\n\n{renamed}"
    is_recursive = name in used and name != "main"
    return f"{renamed}\n{name} = main\n" if is_recursive else renamed


def _names_outside(code: CodeType) -> set[str]:
    """Return the names that code takes from its module, with those of functions inside of it."""
    names = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return names.union(*map(_names_outside, inner)) - set(dir(builtins))
