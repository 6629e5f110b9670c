"""`curl` as far as the pages use it, so that they run where it is not installed.

An answer is printed as it comes. An option that this client does not know is an error.
"""

import http.client
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

_DATA: Final = ("-d", "--data", "--data-binary", "--json")
#: Options without a value. All but `-f` and `-i` are how this client is anyway.
_FLAGS: Final = {
    "-f": "--fail",
    "-i": "--include",
    "-N": "--no-buffer",
    "-S": "--show-error",
    "-s": "--silent",
}


@dataclass
class Request:
    """What a command line asks for."""

    url: str = ""
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    flags: set[str] = field(default_factory=set)
    output: str = ""


def read(arguments: list[str]) -> Request:
    """Read a command line."""
    found, words = Request(), iter(_single(arguments))
    for word in words:
        if word in _DATA:
            _add_data(found, word, next(words))
        elif word in {"-H", "--header"}:
            name, _, value = next(words).partition(":")
            found.headers[name] = value.strip()
        elif word in {"-X", "--request"}:
            found.method = next(words)
        elif word in {"-o", "--output"}:
            found.output = next(words)
        elif word.startswith("-"):
            found.flags.add(_flag(word))
        else:
            found.url = word if "://" in word else f"http://{word}"
    found.method = found.method or ("GET" if found.body is None else "POST")
    return found


def _flag(word: str) -> str:
    """Return the long form of an option without a value."""
    flag = _FLAGS.get(word, word)
    if flag not in _FLAGS.values():
        raise SystemExit(f"curl: the client of the tests does not know {word}")
    return flag


def _single(arguments: list[str]) -> Iterator[str]:
    """Yield the arguments, with `-sN` as `-s` and `-N`."""
    for word in arguments:
        if word[:1] == "-" and word[1:2] != "-" and len(word) > 2:
            yield from (f"-{letter}" for letter in word[1:])
        else:
            yield word


def _add_data(request: Request, how: str, data: str) -> None:
    request.body = Path(data[1:]).read_bytes() if data.startswith("@") else data.encode()
    form = "application/x-www-form-urlencoded"
    request.headers.setdefault("Content-Type", "application/json" if how == "--json" else form)
    if how == "--json":
        request.headers.setdefault("Accept", "application/json")


def main() -> int:
    """Send the request, and print its answer."""
    request = read(sys.argv[1:])
    parts = urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    try:
        connection.request(request.method, path, request.body, request.headers)
    except ConnectionRefusedError:
        print(f"curl: (7) Failed to connect to {parts.netloc}", file=sys.stderr)
        return 7
    answer = connection.getresponse()
    if "--include" in request.flags:
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.getheaders())
        print(f"HTTP/1.1 {answer.status} {answer.reason}\r\n{head}\r", flush=True)
    if request.output:
        with Path(request.output).open("wb") as file:
            _copy(answer, file)
    else:
        _copy(answer, sys.stdout.buffer)
    return 22 if "--fail" in request.flags and answer.status >= 400 else 0


def _copy(answer: http.client.HTTPResponse, to: BinaryIO) -> None:
    while part := answer.read1():
        to.write(part)
        to.flush()


if __name__ == "__main__":
    sys.exit(main())
