"""Flower at a socket that its process has inherited."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from flowq.entrypoints.flower import serving


def a_file(folder: Path) -> Any:
    return (folder / "file").open("w")


def a_datagram_socket(_folder: Path) -> Any:
    return socket.socket(type=socket.SOCK_DGRAM)


def a_socket_that_does_not_listen(_folder: Path) -> Any:
    return socket.socket()


def a_socket_of_this_machine_only(folder: Path) -> Any:
    found = socket.socket(socket.AF_UNIX)
    found.bind(str(folder / "s"))
    found.listen()
    return found


@pytest.mark.parametrize(
    "make",
    [a_file, a_datagram_socket, a_socket_that_does_not_listen, a_socket_of_this_machine_only],
)
def test_what_is_no_listening_tcp_socket_is_refused(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    with make(tmp_path) as opened:
        with pytest.raises(click.BadParameter, match="no TCP socket that listens"):
            serving._serve_at(None, opened.fileno())  # type: ignore[arg-type]

        assert opened.fileno() >= 0


def test_number_that_is_not_open_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="no TCP socket that listens"):
        serving._serve_at(None, 10_000)  # type: ignore[arg-type]
