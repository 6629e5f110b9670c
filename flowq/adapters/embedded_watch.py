"""Ends the embedded Valkey when nobody uses it any more: a small process beside each server.

It waits for an exclusive lock on `valkey.users`, of which all who use the server hold a shared one:
so it sleeps in the kernel, and wakes also when the last of them was killed. Then it gives whoever
comes next some seconds, asks for the lock again, and ends the server while it holds it: who wants
to use the server waits for that, and starts another with the same data.

It imports no library, since it lives as long as the server. A second one for a folder ends at once.
"""

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

LOCK: Final = "valkey.lock"  #: Held by the server.
PID: Final = "valkey.pid"  #: Written by the server.
USERS: Final = "valkey.users"  #: Held, shared, by all who use it.
_WATCH: Final = "valkey.watch"  #: Held by this process.
_POLL_SECONDS: Final = 0.01
_STOP_SECONDS: Final = 10.0


def main(folder: str, idle: float) -> None:
    """Leave the caller, and watch in the background."""
    if os.fork() == 0:
        os.chdir("/")  # it must not hold anybody's folder
        watch(Path(folder), idle)
    os._exit(0)


def watch(directory: Path, idle: float) -> None:
    """Return when the server of a folder has ended, or when somebody else watches it.

    Args:
        idle: Seconds that whoever comes next has after the last one has left.
    """
    with suppress(OSError):  # the folder was removed, and nobody can find the server any more
        watching = _locked(directory / _WATCH, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if watching is None:
            return
        while True:
            users = _locked(directory / USERS, fcntl.LOCK_EX)
            assert users is not None
            os.close(users)
            time.sleep(idle)
            users = _locked(directory / USERS, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if users is None:
                continue
            with suppress(FileNotFoundError, ValueError):  # it has ended by itself
                end(directory, int((directory / PID).read_text(encoding="ascii")), _STOP_SECONDS)
            return


def is_alive(directory: Path) -> bool:
    """Return whether a server lives on a folder: it holds the lock, whatever became of others."""
    lock = _locked(directory / LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if lock is None:
        return True
    os.close(lock)
    return False


def end(directory: Path, pid: int, seconds: float) -> bool:
    """End the server of a folder, if one lives there; return whether it has ended.

    Args:
        pid: What the server has written down.
        seconds: How long it may take, asked and then killed.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(directory):
            break
        # The lock is held, so the server lives, and the pid that it wrote down is still its own.
        os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while is_alive(directory) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    if is_alive(directory):
        return False
    (directory / PID).unlink(missing_ok=True)
    return True


def _locked(file: Path, how: int) -> int | None:
    """Return a descriptor that holds a lock; None when somebody else has it, and none is waited."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
