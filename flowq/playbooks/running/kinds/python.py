"""The tool `python`: code of the document, where the operator lets it run."""

import base64
import binascii
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowq.engine.runtime.context import current_or_none
from flowq.playbooks.running.kinds.call import Call, failed
from flowq.tools.python_code import Code, run_in_process, run_inline


async def python(call: Call) -> Any:
    """Return the result of code."""
    where = call.settings.playbook_python
    if where == "off":
        raise failed("PermissionError", "Python code is switched off: FLOWQ_PLAYBOOK_PYTHON is off")
    context = {key: call.context.get(key) for key in ("execution_id", "step", "workload", "vars")}
    args = {**call.args, **call.mapping("args")}
    code = Code(_source(call), args, context, call.mapping("libs"), call.seconds)
    if where == "inline":
        return await run_inline(code)
    attempt = current_or_none()
    if attempt is None:
        return await run_in_process(code)
    with attempt.stream.open() as out:
        lines = _Lines(lambda text: out.write(call.secrets.masked(text)))
        try:
            return await run_in_process(code, lines.write)
        finally:
            lines.flush()


class _Lines:
    """Passes whole lines on, so that a secret in one is not cut in two."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._rest = ""

    def write(self, text: str) -> None:
        """Take the next piece."""
        lines, end, self._rest = (self._rest + text).rpartition("\n")
        if end:
            self._write(lines + end)

    def flush(self) -> None:
        """Pass on what is left."""
        if self._rest:
            self._write(self._rest)
        self._rest = ""


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
