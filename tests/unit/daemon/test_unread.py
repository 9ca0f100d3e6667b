"""What a peer has read of fds is told from how much is unread, never too early."""

from __future__ import annotations

import array
import random
import socket
from collections.abc import Iterator

import pytest

from isod.daemon.unread import Unread, unread_bytes
from isod.wire.packet import close_all


def descriptors(count: int) -> list[tuple[int, int, array.array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * count))]


class Pair:
    """Both ends, and what is known of the reader."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.unread = Unread()

    def send(self, length: int, fds: int) -> None:
        before = unread_bytes(self.ours.fileno())
        self.ours.sendmsg([b"x" * length], descriptors(fds) if fds else [])
        self.unread.sent(unread_bytes(self.ours.fileno()) - before, fds, 0.0)

    def read(self) -> None:
        _, fds, _, _ = socket.recv_fds(self.theirs, 65536, 250)
        close_all(fds)

    def look(self) -> int:
        self.unread.look(unread_bytes(self.ours.fileno()))
        return self.unread.fds

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_fds_are_unread_until_their_packet_is_read(pair: Pair) -> None:
    pair.send(100, 3)
    pair.send(60_000, 2)
    assert pair.look() == 5
    pair.read()
    assert pair.look() == 2
    pair.read()
    assert pair.look() == 0


def test_packets_without_fds_before_them_do_not_count_and_those_behind_do(pair: Pair) -> None:
    pair.send(500, 0)
    pair.send(500, 1)
    pair.send(500, 0)
    assert pair.look() == 1
    pair.read()
    assert pair.look() == 1, "only the packet in front of it was read"
    pair.read()
    assert pair.look() == 0


def test_who_closes_has_nothing_unread(pair: Pair) -> None:
    pair.send(100, 7)
    pair.theirs.close()
    assert pair.look() == 0


def test_what_the_other_end_does_not_read_stays_though_this_end_shuts_down(pair: Pair) -> None:
    pair.send(100, 7)
    pair.ours.shutdown(socket.SHUT_RDWR)
    assert pair.look() == 7


def test_exactly_what_the_kernel_still_has() -> None:
    """Sent and read at random: what is taken for read was read, and no other."""
    chance = random.Random(5)
    for _ in range(100):
        pair = Pair()
        waiting: list[int] = []
        for _ in range(40):
            if waiting and chance.random() < 0.4:
                pair.read()
                waiting.pop(0)
            else:
                length, fds = chance.choice([1, 50, 700, 5000]), chance.choice([0, 0, 1, 9])
                try:
                    pair.send(length, fds)
                except BlockingIOError:
                    continue
                waiting.append(fds)
            assert pair.look() == sum(waiting)
        while waiting:
            pair.read()
            waiting.pop()
        assert pair.look() == 0
        pair.close()


def test_a_packet_that_was_weighed_while_its_peer_read_counts_too_long_and_not_too_short() -> None:
    unread = Unread()
    unread.sent(100, 1, 0.0)  # its true weight is 768
    unread.sent(768, 1, 0.0)
    unread.look(1536)
    assert unread.fds == 2
    unread.look(768)
    assert unread.fds == 1
