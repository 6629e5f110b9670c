"""Runs Python code of a document: as a program of its own, or called in the worker.

As a program it needs nothing but the standard library: it reads a request as JSON from its input,
limits itself, and writes its answer to the pipe whose descriptor is its argument. What the code
prints goes to the standard output. The code says its style: a function `main` is called, a `return`
outside of functions makes it the body of a function, and else its variable `result` counts.
"""

from __future__ import annotations

import ast
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping

TYPE_CHECKING = False  # `typing` takes as long as all the rest
if TYPE_CHECKING:
    from typing import Any

_MEMORY = 512 * 1024**2
_FILES = 64
_MOST_BYTES = 64 * 1024**2
#: Characters of an error, and of its traceback. The caller cuts them again, without secrets.
_SAID = 1024**2
_NAME = "<playbook>"
#: What may stand between the brackets of a text that is taken for a list or a mapping.
_BRACKETS = {"{": "}", "[": "]"}


def run(
    code: str,
    args: Mapping[str, Any],
    context: Any,
    libs: Mapping[str, Any],
    own: Mapping[str, Any] | None = None,
) -> Any:
    """Run code and return its result.

    Args:
        code: The source.
        args: What it gets; texts that look like a list or a mapping are read as such.
        context: What it gets as `context` if it has a parameter of that name.
        libs: Modules by the names that it uses: a module, or `{from, import}`.
        own: Further names that it uses, such as another `print`.

    Raises:
        Exception: whatever the code raises; SyntaxError if it is no Python.
    """
    tree = ast.parse(code, _NAME)
    given = {name: _coerced(value) for name, value in args.items()}
    names: dict[str, Any] = {"__name__": _NAME, **(own or {}), **_imported(libs)}
    if any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "main"
           for node in tree.body):  # fmt: skip
        exec(compile(tree, _NAME, "exec"), names)  # noqa: S102 - that is what it is for
        return _called(names["main"], given, context)
    if _returns(tree.body):
        return _returned(tree, names, given)
    names |= given | {"input_data": given}
    before = set(names)
    exec(compile(tree, _NAME, "exec"), names)  # noqa: S102
    if "result" in names:
        return names["result"]
    made = sorted(set(names) - before - {"__builtins__"})
    return {
        "status": "success",
        "message": "Code executed without explicit result variable",
        "locals_count": len(made),
        "locals_keys": made,
    }


def _coerced(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if len(text) < 2 or _BRACKETS.get(text[0]) != text[-1]:
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return value


def _imported(libs: Mapping[str, Any]) -> dict[str, Any]:
    from importlib import import_module  # noqa: PLC0415

    found = {}
    for alias, what in libs.items():
        if isinstance(what, str):
            found[alias] = import_module(what)
        else:
            found[alias] = getattr(import_module(what["from"]), what["import"])
    return found


def _returns(body: list[ast.stmt]) -> bool:
    """Say whether there is a `return` outside of functions."""
    open_: list[ast.AST] = list(body)
    while open_:
        node = open_.pop()
        if isinstance(node, ast.Return):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            open_ += ast.iter_child_nodes(node)
    return False


def _returned(tree: ast.Module, names: dict[str, Any], given: dict[str, Any]) -> Any:
    inputs = {name: value for name, value in given.items() if name.isidentifier()}
    inputs["input_data"] = given
    function = ast.parse(f"def main({', '.join(inputs)}): pass", _NAME)
    definition = function.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.body = tree.body
    exec(compile(function, _NAME, "exec"), names)  # noqa: S102
    return names["main"](**inputs)


def _called(main: Any, given: dict[str, Any], context: Any) -> Any:
    known = {"input_data": given, "data": given, "args": given, "context": context} | given
    from inspect import isawaitable, signature  # noqa: PLC0415 - few calls need these modules

    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in signature(main).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= {key: value for key, value in given.items() if key not in named}
        elif parameter.kind is not parameter.VAR_POSITIONAL and name in known:
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(known[name])
            else:
                named[name] = known[name]
    result = main(*positional, **named)
    if not isawaitable(result):
        return result
    import asyncio  # noqa: PLC0415

    return asyncio.run(_awaited(result))


async def _awaited(result: Any) -> Any:
    return await result


def unserializable(value: Any) -> Any:
    """Refuse a part of a result that is no JSON."""
    raise TypeError(f"the result contains a {type(value).__name__}, which is not JSON")


# --- the process ----------------------------------------------------------------------------------


def _limit(seconds: int) -> None:
    limits = {
        resource.RLIMIT_AS: _MEMORY,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_FSIZE: _MOST_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        lowest = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # One second before the hard limit of the processor, a signal says that it is that one.
        soft = max(lowest - 1, 1) if limit == resource.RLIMIT_CPU else lowest
        resource.setrlimit(limit, (soft, lowest))


def _lines(error: BaseException) -> Iterator[str]:
    """Yield the traceback, without the frames of this module."""
    import traceback  # noqa: PLC0415

    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename != __file__]  # fmt: skip
    yield from traceback.format_list(frames[-20:])
    yield from traceback.format_exception_only(error)


def _answer(request: Mapping[str, Any]) -> str:
    try:
        value = run(request["code"], request["args"], request["context"], request["libs"])
        return json.dumps({"value": value}, allow_nan=False, default=unserializable)
    except SystemExit as error:
        problem: BaseException = RuntimeError(f"sys.exit({error.code!r}) was called")
    except BaseException as error:  # noqa: BLE001 - all of it is the answer
        problem = error
    text = str(problem)[:_SAID] or type(problem).__name__
    said = {
        "type": type(problem).__name__,
        "message": text,
        "traceback": "".join(_lines(problem))[-_SAID:],
    }
    return json.dumps({"error": said})


def _main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    answers = int(sys.argv[1])
    _limit(request["seconds"])
    text = _answer(request).encode(errors="backslashreplace")
    sys.stdout.flush()
    with os.fdopen(answers, "wb") as file:
        file.write(text)
    # Nothing that the code has started outlives it, and threads are not waited for.
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _main()
