"""What the kernel says of a peer, and /proc, is read as the kernel writes it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from isod.daemon import identify


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"1:cpu:/x\n0::/machine.slice/vm.scope\n", "/machine.slice/vm.scope"),
        (b"0::/machine.slice/vm.scope\x0cmine\n", "/machine.slice/vm.scope\x0cmine"),
        ("0::/a.scope\u2028b\n".encode(), "/a.scope\u2028b"),
        (b"0::/\xff\n", None),
        (b"1:name=systemd:/a\n", None),
    ],
)
def test_a_cgroup_is_the_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bytes, read: str | None
) -> None:
    """A name that goes on after a form feed is not the name before it."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_bytes(written)
    monkeypatch.setattr(identify, "_PROC", tmp_path)
    assert identify._cgroup(7) == read


@pytest.mark.skipif(os.geteuid() != 0, reason="taking on groups needs root")
@pytest.mark.parametrize("count", [0, 3, 1000])
def test_all_groups_of_a_peer_are_known(tmp_path: Path, count: int) -> None:
    groups = [*range(5000, 5000 + count)]
    path = tmp_path / "socket"
    program = (
        "import os, socket, sys\n"
        f"os.setgroups(range(5000, {5000 + count}))\n"
        "with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:\n"
        "    peer.connect(sys.argv[1])\n"
        "    peer.recv(1)\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        with subprocess.Popen([sys.executable, "-c", program, str(path)]):
            connection, _ = listener.accept()
            with connection:
                who = identify.identify(connection)
                who.close()
    assert who.peer.groups == frozenset(groups)
    assert who.peer.gid == os.getegid()
