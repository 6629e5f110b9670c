"""Python code of a document, in a process of its own or in the worker.

A process of its own has no environment, its own empty folder, and limits of memory, time and files
(`python_child`). It protects the worker: its memory, variables and credentials. It is no jail: the
code may read what the user of the worker may read, and use the network. With authors that are
not trusted as that, run no code.

The process and its children are ended when the step ends, is cancelled or takes too long.
"""

import asyncio
import codecs
import json
import math
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import IO, Any, Final

from flowq.core.errors import StepError
from flowq.tools import python_child

_PROGRAM: Final = Path(__file__).with_name("python_child.py")
#: Processor time of code that has no timeout, in seconds.
_SECONDS: Final = 3_600
#: Characters that code prints and readers get.
_PRINTED: Final = 1024 * 1024
#: Characters of what a process has said last. Who shows it cuts it again, without secrets.
_SAID: Final = 64 * 1024
_MOST_BYTES: Final = 64 * 1024 * 1024  #: Of a result, as JSON.


class CodeFailed(StepError):
    """The code of a document has failed."""


def code_failed(type_: str, message: str, traceback: str = "") -> CodeFailed:
    """Return a failure that has the name of the exception in the code, as it is recorded."""
    name = type_ if type_.isidentifier() else "CodeFailed"
    details: dict[str, object] = {"type": name}
    if traceback:
        details["traceback"] = traceback
    kind: type[CodeFailed] = type(name, (CodeFailed,), {})
    return kind(message, details=details)


@dataclass(frozen=True)
class Code:
    """Code and what it gets.

    Attributes:
        source: Python.
        args: By name, as JSON.
        context: What a parameter `context` gets, as JSON.
        libs: Modules by the names that the code uses: a module, or `{from, import}`.
        seconds: It may take so much time of the processor; None for an hour.
    """

    source: str
    args: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    libs: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None


async def run_inline(code: Code, write: Callable[[str], None] | None = None) -> Any:
    """Run code in this process, in a thread.

    Args:
        code: The code.
        write: Gets what it prints; without, its own `print` is that of this process.

    Raises:
        CodeFailed: it has raised, or its result is no JSON.
    """
    own = {} if write is None else {"print": partial(_print, write)}

    def work() -> Any:
        try:
            value = python_child.run(code.source, code.args, code.context, code.libs, own)
            return json.loads(
                json.dumps(value, allow_nan=False, default=python_child.unserializable)
            )
        except (Exception, SystemExit) as error:
            raise code_failed(type(error).__name__, str(error)) from error

    return await asyncio.to_thread(work)


def _print(write: Callable[[str], None], *values: object, **options: Any) -> None:
    """Print as `print` does; what is for the streams of this process goes to `write`."""
    text = StringIO()
    if options.get("file") in (None, sys.stdout, sys.stderr):
        options["file"] = text
    print(*values, **options)  # noqa: T201 - that is what it is for
    write(text.getvalue())


async def run_in_process(code: Code, write: Callable[[str], None] | None = None) -> Any:
    """Run code in a fresh interpreter.

    Args:
        code: The code.
        write: Gets what it prints, as it comes; without, nobody does.

    Raises:
        CodeFailed: it has raised, its result is no JSON, or a limit has ended it.
    """
    request = {
        "code": code.source,
        "args": code.args,
        "context": code.context,
        "libs": code.libs,
        "seconds": math.ceil(code.seconds or _SECONDS) + 2,
    }
    reading, writing = os.pipe()
    with (
        tempfile.TemporaryDirectory(prefix="flowq-") as folder,
        os.fdopen(reading, "rb") as answers,
    ):
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-X", "utf8", str(_PROGRAM), str(writing)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=folder,
                env={},
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        given = json.dumps(request).encode()
        return await _followed(process, given, answers, write or (lambda _: None))


async def _followed(
    process: Process, request: bytes, answers: IO[bytes], write: Callable[[str], None]
) -> Any:
    """Return the answer of a process; end it, and all that it has started."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[str] = []
    printed = asyncio.gather(
        _read(process.stdout, write, _PRINTED), _read(process.stderr, errors.append, _PRINTED)
    )
    stream = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), answers)
    answer = bytearray()
    try:
        with suppress(ConnectionError):  # it has ended before it has read all
            process.stdin.write(request)
            await process.stdin.drain()
            process.stdin.close()
        # This pipe ends with the process; the others end with all that it has started.
        while len(answer) <= _MOST_BYTES and (piece := await stream.read(65_536)):
            answer += piece
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        pipe.close()
        await process.wait()
        await printed
    return _value(bytes(answer), process.returncode, "".join(errors)[-_SAID:])


async def _read(stream: asyncio.StreamReader, write: Callable[[str], None], most: int) -> None:
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    while piece := await stream.read(65_536):
        text = decode(piece)
        if text and most > 0:
            write(text[:most])
        most -= len(text)


def _value(text: bytes, returned: int | None, said: str) -> Any:
    if len(text) > _MOST_BYTES:
        raise code_failed("CodeFailed", f"the result has more than {_MOST_BYTES:,} bytes")
    try:
        answer = json.loads(text)
    except ValueError:
        raise code_failed("CodeFailed", _ended(returned, said)) from None
    if "error" in answer:
        raise code_failed(**{"type_": answer["error"].pop("type"), **answer["error"]})
    return answer["value"]


def _ended(returned: int | None, said: str) -> str:
    if returned == -signal.SIGXCPU:
        return "the code has used more time of the processor than it may"
    last = said.strip().rpartition("\n")[2]
    if returned is not None and returned < 0:
        name = signal.Signals(-returned).name
        return f"the process of the code was ended by {name}" + (f": {last}" if last else "")
    return f"the process of the code ended without a result ({returned}): {last}"
