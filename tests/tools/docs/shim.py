"""`flowq`, `celery`, `python` and others in the shell of a page: a process of the fork server.

This program asks for the process, passes signals on to it, and ends as it ends. It runs for each
command, so it imports built-in modules alone and starts in five milliseconds.

    python -ISE shim.py SOCKET python ARGUMENT...

The variable DOCS_JOB names a folder. While the process runs, a file in it has its id as its name;
when it has ended, there is the file `ended`.
"""

import _signal  # type: ignore[import-not-found]  # what `signal` is made of
import _socket
import posix
import sys
from _json import encode_basestring_ascii as quoted


def main() -> int:
    """Become, to whoever looks, the process that is asked for."""
    server, arguments = sys.argv[1], sys.argv[2:]
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(server)
    _ask(connection, arguments)
    pid = _number(_line(connection))
    job = posix.environ.get(b"DOCS_JOB", b"").decode()
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT):
        _signal.signal(number, lambda given, _: _pass_on(pid, given))
    mark = f"{job}/{pid}"
    if job:
        posix.close(posix.open(mark, posix.O_CREAT | posix.O_WRONLY))
    status = _number(_line(connection))
    if job:
        posix.rename(mark, f"{job}/ended")
    connection.send(b".")
    connection.recv(1)
    return status if status >= 0 else 128 - status


def _pass_on(pid: int, number: int) -> None:
    try:
        posix.kill(pid, number)
    except ProcessLookupError:
        return  # it has just ended


def _ask(connection: _socket.socket, arguments: list[str]) -> None:
    variables = {
        name.decode(errors="surrogateescape"): value.decode(errors="surrogateescape")
        for name, value in posix.environ.items()
    }
    variables.pop("DOCS_JOB", None)
    fields = {
        "arguments": f"[{','.join(map(quoted, arguments))}]",
        "environment": _object({name: quoted(value) for name, value in variables.items()}),
        "folder": quoted(posix.getcwd()),
        "own_session": "false",
        "user": "null",
        "cold": "false",
    }
    body = _object(fields).encode()
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)
    connection.sendmsg([len(body).to_bytes(4, "big")], [rights])
    connection.sendall(body)


def _object(fields: dict[str, str]) -> str:
    """Return a JSON object of values that are JSON already."""
    return f"{{{','.join(f'{quoted(name)}:{value}' for name, value in fields.items())}}}"


def _line(connection: _socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        found += connection.recv(1) or posix._exit(125)
    return found


def _number(answer: bytes) -> int:
    """Return the one number of an answer of the fork server."""
    return int(answer.partition(b":")[2].strip(b" }\n"))


posix._exit(main())
