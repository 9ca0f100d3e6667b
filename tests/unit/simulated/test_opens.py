"""A file is open as long as any copy of its fd lives, and not a moment longer."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack

from isod.kernel.simulated import calls

from .played import Child, Played, errno_of


def test_a_group_is_open_once(demo: Played) -> None:
    demo.give("02:00.0")
    first = calls.open_group(demo.directory, 13)
    assert errno_of(lambda: calls.open_group(demo.directory, 13)) == errno.EBUSY
    os.close(first)
    os.close(calls.open_group(demo.directory, 13))


def test_a_copy_holds_it(demo: Played) -> None:
    demo.give("02:00.0")
    first = calls.open_group(demo.directory, 13)
    copy = os.dup(first)
    os.close(first)
    assert errno_of(lambda: calls.open_group(demo.directory, 13)) == errno.EBUSY
    os.close(copy)
    assert errno_of(lambda: os.close(calls.open_group(demo.directory, 13))) is None


def test_another_process_holds_it_until_it_is_killed(demo: Played) -> None:
    demo.give("02:00.0")

    def play(theirs: socket.socket) -> None:
        calls.open_group(demo.directory, 13)
        theirs.send(b"open")
        theirs.recv(1)

    child = Child(play)
    assert child.hear() == b"open"
    assert errno_of(lambda: calls.open_group(demo.directory, 13)) == errno.EBUSY
    child.kill()
    assert errno_of(lambda: os.close(calls.open_group(demo.directory, 13))) is None


def test_a_forked_child_holds_what_its_parent_opened(demo: Played) -> None:
    demo.give("02:00.0")
    opened = calls.open_group(demo.directory, 13)

    def play(theirs: socket.socket) -> None:
        theirs.send(b"here")
        theirs.recv(1)

    child = Child(play)
    assert child.hear() == b"here"
    os.close(opened)
    assert errno_of(lambda: calls.open_group(demo.directory, 13)) == errno.EBUSY
    child.tell(b"x")
    assert child.end() == 0
    assert errno_of(lambda: os.close(calls.open_group(demo.directory, 13))) is None


def test_an_fd_in_flight_holds_it(demo: Played) -> None:
    demo.give("02:00.0")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened = calls.open_group(demo.directory, 13)
    socket.send_fds(ours, [b"x"], [opened])
    os.close(opened)
    ours.close()
    assert errno_of(lambda: calls.open_group(demo.directory, 13)) == errno.EBUSY
    theirs.close()
    assert errno_of(lambda: os.close(calls.open_group(demo.directory, 13))) is None


def test_a_received_fd_is_the_same_file(demo: Played, stack: ExitStack) -> None:
    demo.give("02:00.0")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened = demo.open_cdev("02:00.0")
    socket.send_fds(ours, [b"x"], [opened])
    os.close(opened)
    received = socket.recv_fds(theirs, 1, 1)[1][0]
    stack.callback(os.close, received)
    iommufd = demo.iommufd()
    stack.callback(os.close, iommufd)
    assert calls.bind_iommufd(received, iommufd) == 1
    assert calls.device_name(received) == "0000:02:00.0"
    ours.close()
    theirs.close()


def test_opens_of_clients_outlive_whoever_opened_them(demo: Played, stack: ExitStack) -> None:
    """The daemon opens, sends and dies: the client's copy works on."""
    demo.give("02:00.0")

    def play(theirs: socket.socket) -> None:
        socket.send_fds(theirs, [b"x"], [demo.iommufd(), demo.open_cdev("02:00.0")])
        theirs.recv(1)

    daemon = Child(play)
    iommufd, device = socket.recv_fds(daemon.socket, 16, 2)[1]
    stack.callback(os.close, iommufd)
    stack.callback(os.close, device)
    daemon.kill()
    calls.bind_iommufd(device, iommufd)
    assert demo.use("02:00.0").open == (demo.device("02:00.0").address,)


def test_other_files_take_no_such_calls(demo: Played, stack: ExitStack) -> None:
    other = os.open("/dev/null", os.O_RDWR)
    stack.callback(os.close, other)
    assert errno_of(lambda: calls.get_status(other)) == errno.ENOTTY
    container = demo.container()
    stack.callback(os.close, container)
    assert errno_of(lambda: calls.get_status(container)) == errno.ENOTTY
    closed = os.dup(other)
    os.close(closed)
    assert errno_of(lambda: calls.get_status(closed)) == errno.EBADF


def test_nothing_piles_up(demo: Played) -> None:
    demo.give("02:00.0")
    for _ in range(50):
        iommufd = demo.iommufd()
        device = demo.bound("02:00.0", iommufd)
        os.close(device)
        os.close(iommufd)
    files = [path for path in (demo.directory / "opens").rglob("*") if path.is_file()]
    assert len(files) < 10
