"""Files as results: a step that returns the `Path` of a file hands over its content.

The worker that reads it has another disk, so the content is stored and each reader gets a `Path` to
a copy of its own, under the file's name, that it may read, change or move away. Copies exist as
long as the attempt that loaded them (`local_files`); outside an attempt, as in a client, as long as
the process. They are below one folder per process, `flowq-<host>-<pid>-…` in the system's temporary
folder (`TMPDIR`), in a subfolder named by the digest of the content. A process that was killed
cannot clean up, so the next one on this host removes the folders of processes that no longer exist.

The name travels in the media type: `text/csv; name="facts.csv"`.
"""

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

#: Bytes per read.
CHUNK: Final = 1024 * 1024
#: Maximum quoted characters of a stored name; of a longer one only the suffix is stored.
_MAX_NAME_LENGTH: Final = 160


class _Folder:
    """A folder that is created with its first file."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def make(self, prefix: str, parent: Path | None = None) -> Path:
        if self.path is None:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        return self.path

    def remove(self) -> None:
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)


#: The folder of this process, by pid: a forked child must not share, nor remove, its parent's.
_of_process: dict[int, Path] = {}
_of_attempt: ContextVar[_Folder | None] = ContextVar("flowq_files_of_attempt", default=None)


@contextmanager
def local_files() -> Iterator[None]:
    """Remove, at the end of this block, the copies of files that were loaded within it."""
    folder = _Folder()
    token = _of_attempt.set(folder)
    try:
        yield
    finally:
        _of_attempt.reset(token)
        folder.remove()


def media_type(path: Path) -> str:
    """Return the media type of a file by its name, with its name as a parameter."""
    name = quote(path.name)
    if len(name) > _MAX_NAME_LENGTH:
        name = "file" + quote(path.suffix)[: _MAX_NAME_LENGTH // 2]
    return f'{guess_type(path.name)[0] or "application/octet-stream"}; name="{name}"'


def digest(path: Path) -> tuple[str, int]:
    """Return the SHA-256 in hex and the size in bytes of a file, reading it in parts."""
    state, size = sha256(), 0
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            state.update(part)
            size += len(part)
    return state.hexdigest(), size


def keep(parts: Iterable[bytes], media: str, sha: str) -> Path:
    """Write the content of a file to a local copy.

    Args:
        parts: The content. When reading it raises, nothing is left behind.
        media: Its media type, as `media_type` made it.
        sha: Digest of the content in hex: a file that is loaded again gets the same path.

    Returns:
        Path of the copy.
    """
    folder = _folder() / sha[:16]
    folder.mkdir(mode=0o700, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
        target = folder / _name(media)
        Path(unfinished).replace(target)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return target


def _name(media: str) -> str:
    """Return the name in a media type: only its last part, so that it stays in the folder."""
    quoted = media.partition('; name="')[2].removesuffix('"')
    name = Path(unquote(quoted)).name
    return name if name not in {"", ".", ".."} else "file"


def _folder() -> Path:
    of_attempt = _of_attempt.get()
    if of_attempt is None:
        return _process_folder()
    return of_attempt.path or of_attempt.make("attempt-", _process_folder())


def _process_folder() -> Path:
    pid = os.getpid()
    if pid not in _of_process:
        prefix = f"flowq-{socket.gethostname()}-"
        _remove_orphans(prefix)
        _of_process[pid] = Path(tempfile.mkdtemp(prefix=f"{prefix}{pid}-"))
        atexit.register(_remove_process_folder, pid)
    return _of_process[pid]


def _remove_process_folder(pid: int) -> None:
    if pid == os.getpid():
        shutil.rmtree(_of_process.pop(pid), ignore_errors=True)


def _remove_orphans(prefix: str) -> None:
    if os.name == "nt":  # There, signal 0 would end the process.
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = folder.name.removeprefix(prefix).partition("-")[0]
        if pid.isdecimal() and not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
