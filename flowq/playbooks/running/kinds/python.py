"""The tool `python`: code of the document, where the operator lets it run."""

import base64
import binascii
from pathlib import Path
from typing import Any, Final, Self

from flowq.engine.runtime.context import current_or_none
from flowq.engine.runtime.text_stream import Streams, TextStream
from flowq.playbooks.running.kinds.call import Call, failed
from flowq.tools.python_code import Code, CodeFailed, run_in_process, run_inline
from flowq.tools.secrets import Secrets

#: Characters that an error of code says, and of its traceback.
_MESSAGE: Final = 4_000
_TRACEBACK: Final = 8_000


async def python(call: Call) -> Any:
    """Return the result of code."""
    where = call.settings.playbook_python
    if where == "off":
        raise failed("PermissionError", "Python code is switched off: FLOWQ_PLAYBOOK_PYTHON is off")
    context = {key: call.context.get(key) for key in ("execution_id", "step", "workload", "vars")}
    args = {**call.args, **call.mapping("args")}
    code = Code(_source(call), args, context, call.mapping("libs"), call.seconds)
    attempt = current_or_none()
    run = run_inline if where == "inline" else run_in_process
    try:
        if attempt is None:
            return await run(code)
        with _Printed(attempt.stream, call.secrets) as printed:
            return await run(code, printed.write)
    except CodeFailed as error:
        _shorten(error, call.secrets)
        raise


def _shorten(error: CodeFailed, secrets: Secrets) -> None:
    """Cut what an error says; secrets are masked before, since a part of one would remain."""
    error.message = secrets.masked(error.message)[:_MESSAGE]
    error.args = (error.message,)
    if traceback := error.details.get("traceback"):
        cut = secrets.masked(str(traceback))[-_TRACEBACK:]
        error.details = {**error.details, "traceback": cut}


class _Printed:
    """What code prints, as a stream of its step, without secrets.

    Whole lines are passed on, so that a secret in one is not cut in two. The stream begins with the
    first of them.
    """

    def __init__(self, streams: Streams, secrets: Secrets) -> None:
        self._streams = streams
        self._secrets = secrets
        self._stream: TextStream | None = None
        self._rest = ""

    def write(self, text: str) -> None:
        """Take the next piece."""
        lines, end, self._rest = (self._rest + text).rpartition("\n")
        self._pass_on(lines + end)

    def _pass_on(self, text: str) -> None:
        if text:
            self._stream = self._stream or self._streams.open()
            self._stream.write(self._secrets.masked(text))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._pass_on(self._rest)
        if self._stream is not None:
            self._stream.close(error)


def _source(call: Call) -> str:
    script = call.config.get("script")
    if script:
        return file_of(call, str(script)).read_text(encoding="utf-8")
    coded = call.config.get("code_b64")
    if coded:
        try:
            return base64.b64decode(str(coded), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise failed("ValueError", "code_b64 is not base64 of UTF-8") from None
    return call.text("code")


def file_of(call: Call, path: str, *, must_exist: bool = True) -> Path:
    """Return a file in the folder that playbooks may use.

    Raises:
        CallFailed: there is no such folder, or no such file in it.
    """
    folder = call.settings.playbook_files
    if folder is None:
        said = "playbooks may use no files: FLOWQ_PLAYBOOK_FILES names no folder"
        raise failed("PermissionError", said)
    root = folder.resolve()
    try:
        file = (root / path).resolve()
    except (OSError, ValueError):
        raise failed("FileNotFoundError", f"{path[:200]!r} is not a path") from None
    if not file.is_relative_to(root) or (must_exist and not file.is_file()):
        raise failed("FileNotFoundError", f"no file {path[:200]!r} is in FLOWQ_PLAYBOOK_FILES")
    return file
