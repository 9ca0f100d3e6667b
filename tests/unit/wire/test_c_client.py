"""The protocol page's receive routine, compiled and run against real sockets."""

from __future__ import annotations

import array
import errno
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.model.request import LEASE_FDS, PACKET_BYTES
from isod.wire import packet
from isod.wire.document import PAGE

SOURCE = Path(__file__).with_name("client.c")
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
END = "packet 0 fds 0 leaked 0"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("client") / "client"
    assert COMPILER is not None
    options = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion"]
    subprocess.run([COMPILER, *options, "-Werror", "-o", target, SOURCE], check=True)
    return target


@pytest.fixture
def wire(program: Path) -> Iterator[Wire]:
    with Wire(program) as wire:
        yield wire


class Wire:
    """The daemon's end of a connection to the program."""

    def __init__(self, program: Path, files: int | None = None) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [program], stdin=theirs.fileno(), stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        theirs.close()
        if files is not None:
            limits = (files, files)
            resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, limits)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._process.communicate(timeout=10)

    def told(self) -> list[str]:
        """End the connection; what the program has told, line by line."""
        self.socket.close()
        output, _ = self._process.communicate(timeout=10)
        assert self._process.returncode == 0
        return list(output.splitlines())


@needs_compiler
def test_packets_and_their_fds(wire: Wire) -> None:
    files = [os.memfd_create(name) for name in ("hold", "iommufd")]
    packet.send(wire.socket, b'{"jsonrpc":"2.0"}', files)
    packet.close_all(files)
    packet.send(wire.socket, b"x" * PACKET_BYTES)
    packet.send(wire.socket, b"most", [0] * LEASE_FDS)
    first, second, third, last = wire.told()
    assert first == "packet 17 fds 2 /memfd:hold (deleted) /memfd:iommufd (deleted) leaked 0"
    assert second == f"packet {PACKET_BYTES} fds 0 leaked 0"
    assert third.startswith(f"packet 4 fds {LEASE_FDS} ")
    assert third.endswith(" leaked 0")
    assert "INHERITED" not in third
    assert last == END


@needs_compiler
def test_packets_that_break_the_rules(wire: Wire) -> None:
    too_many = array.array("i", [0] * (LEASE_FDS + 1))
    one = array.array("i", [0])
    wire.socket.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, too_many)])
    wire.socket.sendmsg([b"x" * 65537], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, one)])
    assert wire._process.stdout is not None
    lines = [wire._process.stdout.readline() for _ in range(2)]
    assert lines == [f"error {errno.EMFILE} leaked 0\n", f"error {errno.EMSGSIZE} leaked 0\n"]
    # The end must not be near when the empty packet is judged.
    wire.socket.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, one)])
    assert wire._process.stdout.readline() == f"error {errno.EBADMSG} leaked 0\n"
    assert wire.told() == [END]


@needs_compiler
def test_a_low_limit_of_open_files(program: Path) -> None:
    with Wire(program, files=6) as wire:
        packet.send(wire.socket, b"x", [0] * 10)
        assert wire.told() == [f"error {errno.EMFILE} leaked 0", END]


def test_the_page_shows_this_very_routine() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    _, _, rest = source.partition("/* begin of the page's part */\n")
    shown, _, _ = rest.partition("/* end of the page's part */\n")
    assert f"```c\n{shown}```\n" in PAGE.read_text(encoding="utf-8")
