"""Packets over real sockets: whole or refused, fds with their packet, none left behind."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from isod.model.request import LEASE_FDS, PACKET_BYTES
from isod.wire import packet
from isod.wire.packet import Packet, PacketError

from .open_files import leads_to, open_fds


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def low_limit() -> Iterator[None]:
    """Room for three more fds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    for descriptor in free:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1] + 1, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_packet_carries_its_fds_in_order(pair: Pair) -> None:
    left, right = pair
    ours = [os.memfd_create(f"file{number}") for number in range(3)]
    packet.send(left, b"{}", ours)
    packet.close_all(ours)
    received = packet.receive(right)
    assert received is not None
    assert received.data == b"{}"
    names = [leads_to(fd) for fd in received.fds]
    assert names == [f"/memfd:file{number} (deleted)" for number in range(3)]
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in received.fds)
    received.close()


def test_packets_do_not_run_together_nor_their_fds(pair: Pair) -> None:
    left, right = pair
    before = open_fds()
    packet.send(left, b"one", [0])
    packet.send(left, b"two")
    packet.send(left, b"three", [0, 0])
    packets = [packet.receive(right) for _ in range(3)]
    assert [(one.data, len(one.fds)) for one in packets if one] == [
        (b"one", 1),
        (b"two", 0),
        (b"three", 2),
    ]
    for one in packets:
        assert one is not None
        one.close()
    assert open_fds() == before


def test_the_most_that_a_packet_holds(pair: Pair) -> None:
    left, right = pair
    before = open_fds()
    packet.send(left, b"x" * PACKET_BYTES, [0] * LEASE_FDS)
    received = packet.receive(right)
    assert received is not None
    assert (len(received.data), len(received.fds)) == (PACKET_BYTES, LEASE_FDS)
    received.close()
    assert open_fds() == before


@pytest.mark.parametrize(
    ("data", "fds"),
    [(b"", 0), (b"", 1), (b"x" * (PACKET_BYTES + 1), 0), (b"x", LEASE_FDS + 1)],
)
def test_what_no_receiver_takes_is_not_sent(pair: Pair, data: bytes, fds: int) -> None:
    left, right = pair
    with pytest.raises(ValueError, match="packet"):
        packet.send(left, data, [0] * fds)
    with pytest.raises(BlockingIOError):
        packet.receive(right)


def test_an_over_long_packet_is_refused_with_its_fds(pair: Pair) -> None:
    left, right = pair
    before = open_fds()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 0]))]
    left.sendmsg([b"x" * (PACKET_BYTES + 1)], rights)
    with pytest.raises(PacketError, match="more than"):
        packet.receive(right)
    assert open_fds() == before


def test_more_fds_than_a_lease_are_refused(pair: Pair) -> None:
    left, right = pair
    before = open_fds()
    rights = array.array("i", [0] * (LEASE_FDS + 1))
    left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    with pytest.raises(PacketError, match=f"only {LEASE_FDS} "):
        packet.receive(right)
    assert open_fds() == before


def test_without_room_for_the_fds_none_is_kept(pair: Pair, low_limit: None) -> None:
    left, right = pair
    packet.send(left, b"x", [0] * 10)
    with pytest.raises(PacketError, match="only 3 of"):
        packet.receive(right)
    # All three places are free again.
    packet.close_all([os.open("/dev/null", os.O_RDONLY) for _ in range(3)])


def test_an_empty_packet_is_an_error_and_not_the_end(pair: Pair) -> None:
    left, right = pair
    left.send(b"")
    packet.send(left, b"next")
    with pytest.raises(PacketError, match="empty"):
        packet.receive(right)
    assert packet.receive(right) == Packet(b"next")
    left.send(b"")
    with pytest.raises(PacketError, match="empty"):
        packet.receive_plain(right)


def test_an_empty_packet_with_fds_leaves_none(pair: Pair) -> None:
    left, right = pair
    before = open_fds()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
    left.sendmsg([b""], rights)
    with pytest.raises(PacketError):
        packet.receive(right)
    assert open_fds() == before


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_the_end_comes_after_what_was_sent(pair: Pair, how: str) -> None:
    left, right = pair
    packet.send(left, b"last")
    if how == "close":
        left.close()
    else:
        left.shutdown(socket.SHUT_WR)
    assert packet.receive(right) == Packet(b"last")
    assert packet.receive(right) is None
    assert packet.receive_plain(right) is None


def test_what_was_sent_is_read_though_the_peer_left_our_packets_unread(pair: Pair) -> None:
    left, right = pair
    packet.send(right, b"never read")
    packet.send(left, b"why I leave")
    left.close()
    assert packet.receive(right) == Packet(b"why I leave")
    assert packet.receive(right) is None
    with pytest.raises(BrokenPipeError):
        packet.send(right, b"too late")


def test_a_full_socket_takes_all_of_a_packet_or_nothing(pair: Pair) -> None:
    left, right = pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    before = open_fds()
    read_end, write_end = os.pipe()
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            packet.send(left, b"x" * 500, [write_end])
            sent += 1
    os.close(write_end)
    assert sent > 0
    for _ in range(sent):
        received = packet.receive(right)
        assert received is not None
        assert (len(received.data), len(received.fds)) == (500, 1)
        received.close()
    with pytest.raises(BlockingIOError):
        packet.receive(right)
    # No copy is left in the socket: the pipe is at its end.
    assert os.read(read_end, 1) == b""
    os.close(read_end)
    assert open_fds() == before


def test_what_does_not_fit_the_send_buffer_is_said_at_once(pair: Pair) -> None:
    left, right = pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with pytest.raises(OSError, match="too long") as caught:
        packet.send(left, b"x" * PACKET_BYTES, [0])
    assert caught.value.errno == errno.EMSGSIZE
    with pytest.raises(BlockingIOError):
        packet.receive(right)


def test_a_server_gets_no_fds_whatever_is_sent(pair: Pair) -> None:
    left, right = pair
    before = open_fds()
    read_end, write_end = os.pipe()
    for _ in range(100):
        packet.send(left, b"{}", [write_end, write_end])
        with pytest.raises(PacketError, match="carry no fds"):
            packet.receive_plain(right)
    packet.send(left, b"{}")
    assert packet.receive_plain(right) == b"{}"
    os.close(write_end)
    assert os.read(read_end, 1) == b""
    os.close(read_end)
    assert open_fds() == before


def test_a_timeout_is_a_timeout(pair: Pair) -> None:
    _, right = pair
    right.settimeout(0.001)
    with pytest.raises(TimeoutError):
        packet.receive(right)


def test_closing_twice_is_harmless() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    packet.close_all([fd])
    packet.close_all([fd])
