"""From `examples/codebase.py:codebase` to the flow: what `flowq run`, `graph` and `worker` share.

A file is imported under its dotted name relative to the current folder, as `celery -A
examples.codebase` imports it: names of steps must be the same in the process that starts a run and
in the workers.

Errors in a user's code are shown with the frames of that code only. The frames of flowq and of
Python's import system would not help the user.
"""

import importlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import flowq
from flowq.authoring.definitions.base_flow import BaseFlow
from flowq.authoring.definitions.flows import Flow
from flowq.authoring.naming import import_place
from flowq.core.errors import FlowNotFound, FlowqError, InvalidFlow
from flowq.engine.registry.origins import raised_in

_PACKAGE: Final = str(Path(flowq.__file__).parent)


@dataclass(frozen=True)
class Loaded:
    """A flow, and where it was found."""

    flow: Flow[..., Any]
    file: str  #: As the user wrote it, without the name of the flow.
    module: ModuleType


def load_flow(target: str) -> Loaded:
    """Return the flow that `FILE[:FLOW]` or `MODULE[:FLOW]` names.

    Raises:
        FlowNotFound: there is no such file or flow, or the file cannot be imported.
    """
    file, name = split(target)
    module = load_module(file)
    return Loaded(_choose(module, file, name), file, module)


def split(target: str) -> tuple[str, str]:
    """Return the file or module, and the name after the colon."""
    file, _, name = target.partition(":")
    return file, name


def load_module(file: str) -> ModuleType:
    """Import a file or a module, as it is seen from the current folder.

    Raises:
        FlowNotFound: there is none, or it cannot be imported; the message has the user's traceback.
        InvalidFlow: a definition in it is wrong.
    """
    is_file = file.endswith(".py") or "/" in file
    path = Path(file).resolve() if is_file else None
    name = _name_of(path, file) if path else file
    with user_code(f"{file} cannot be imported:"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise _no_module(file) from None
    found = getattr(module, "__file__", None)
    if path is not None and (found is None or Path(found).resolve() != path):
        raise FlowNotFound(
            f"{file} cannot be imported: {name} is another module, {found or 'of Python itself'}",
            hint="rename the file or its folder",
        )
    return module


def _name_of(path: Path, shown: str) -> str:
    """Return the dotted name of a file, and make it importable."""
    if not path.is_file():
        near = get_close_matches(path.name, [file.name for file in path.parent.glob("*.py")], n=1)
        hint = f"did you mean {Path(shown).with_name(near[0])}?" if near else None
        raise FlowNotFound(f"there is no file {shown}", hint=hint)
    folder, name = import_place(Path(shown))
    parts = [*name.split("."), path.stem]
    wrong = [part for part in parts if not part.isidentifier()]
    if wrong or path.suffix != ".py":
        raise FlowNotFound(
            f"workers cannot import {shown}: {(wrong or [path.name])[0]!r} is not the name of a "
            "module",
            hint="use letters, digits and _ in the names of folders and files",
        )
    _see(folder)
    return name


def _no_module(name: str) -> FlowNotFound:
    file = name.replace(".", "/") + ".py"
    is_there = Path(file).is_file() or Path(f"{name}.py").is_file()
    hint = f"give a file, like {file}, or a module that can be imported from here"
    return FlowNotFound(f"there is no module {name!r}", hint=f"try {file}" if is_there else hint)


def _see(folder: Path) -> None:
    """Make a folder importable for this process and for those that it starts."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


# --- the flow in the module -----------------------------------------------------------------------


def flows_of(module: ModuleType) -> dict[str, Flow[..., Any]]:
    """Return the flows of a module by their names in it; only the module's own, if it has any."""
    found = {name: _flow_in(value) for name, value in vars(module).items()}
    every = {name: value for name, value in found.items() if value is not None}
    own = {
        name: value
        for name, value in every.items()
        if getattr(value, "__module__", "") == module.__name__
    }
    return own or every


def _flow_in(value: object) -> Flow[..., Any] | None:
    """Return the flow that a value of a module is.

    A `BaseFlow` class and a durable canvas stand for their flow.
    """
    from flowq.canvas.handle import Durable  # noqa: PLC0415 - defines a flow, for few commands

    if isinstance(value, Durable):
        return value.flow
    if isinstance(value, type) and issubclass(value, BaseFlow):
        value = vars(value).get("flow")
    return value if isinstance(value, Flow) else None


def _choose(module: ModuleType, file: str, name: str) -> Flow[..., Any]:
    flows = flows_of(module)
    if not name and len(flows) == 1:
        return next(iter(flows.values()))
    if name:
        named = _flow_in(vars(module).get(name))
        if named is not None:
            return named
        registered = [flow for flow in flows.values() if flow.type.name == name]
        if registered:
            return registered[0]
    raise _not_chosen(file, name, list(flows), vars(module).get(name))


def _not_chosen(file: str, name: str, flows: list[str], found: object) -> FlowNotFound:
    listed = "\n".join(f"  {file}:{one}" for one in flows)
    if not flows:
        return FlowNotFound(f"{file} has no flow", hint="put @flow above a function")
    if not name:
        return FlowNotFound(
            f"{file} has {len(flows)} flows:\n{listed}", hint=f"name one, e.g. {file}:{flows[0]}"
        )
    what = (
        f"{name!r} in {file} is not a flow" if found is not None else f"{file} has no flow {name!r}"
    )
    near = get_close_matches(name, flows, n=1)
    hint = f"did you mean {file}:{near[0]}?" if near else None
    return FlowNotFound(f"{what}. It has:\n{listed}", hint=hint)


# --- the user's own code --------------------------------------------------------------------------


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Convert an exception of a user's code to an error that shows its traceback.

    Raises:
        FlowNotFound: the code raised; errors of flowq itself pass unchanged.
    """
    _see(Path.cwd().resolve())
    try:
        yield
    except FlowqError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever they raise
        raise FlowNotFound(f"{what}\n\n{user_traceback(error)}") from None


@contextmanager
def tracing(flow: Flow[..., Any]) -> Iterator[None]:
    """Convert an exception of a flow's function while it is traced; the error shows it.

    Raises:
        InvalidFlow: the function raised; errors from elsewhere pass unchanged.
    """
    try:
        yield
    except FlowqError:
        raise
    except Exception as error:
        if not raised_in(flow, error):
            raise
        name = flow.type.name
        raise InvalidFlow(
            f"flow {name!r} fails with these inputs:\n\n{user_traceback(error)}"
        ) from None


def user_traceback(error: BaseException) -> str:
    """Return a traceback without the frames of flowq and of Python's import system."""
    shown = traceback.TracebackException.from_exception(error)
    one: traceback.TracebackException | None = shown
    while one is not None:
        one.stack = traceback.StackSummary.from_list(_user_frames(one))
        one = one.__cause__ or one.__context__
    return "".join(shown.format()).rstrip()


def _user_frames(shown: traceback.TracebackException) -> list[traceback.FrameSummary]:
    return [frame for frame in shown.stack if not _is_machinery(frame.filename)]


def _is_machinery(file: str) -> bool:
    if file.startswith("<frozen importlib"):
        return True
    ours = file.startswith(_PACKAGE + "/") and "/examples/" not in file
    return ours or file == importlib.__file__


def environment_with_path(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment in which Python also imports from a folder."""
    path = [str(folder), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": ":".join(filter(None, path))}
