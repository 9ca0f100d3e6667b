"""Packets and their file descriptors on a SOCK_SEQPACKET socket: the one file that does I/O.

A packet is whole or refused, and its fds come with it. ``send``, ``receive`` and
``receive_plain`` serve blocking sockets, with or without a timeout. For other sockets (trio's)
the parts they are made of are here: give ``ancillary(fds)`` to sendmsg after ``check_sendable``;
call ``recvmsg(PACKET_BYTES, CONTROL_BYTES, RECEIVE_FLAGS)`` and give what it returned to ``unpack``
(``recvmsg(PACKET_BYTES)`` and ``unpack_plain`` where fds are not wanted).

On a non-blocking socket EAGAIN comes out as BlockingIOError, and nothing was sent or taken: a send
is all or nothing, its fds included. ETOOMANYREFS means that too many fds are on their way unread.
"""

from __future__ import annotations

import os
import select
import socket
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isod.model.request import LEASE_FDS, PACKET_BYTES

_FD_BYTES = array("i").itemsize
# CMSG_LEN, not CMSG_SPACE: the padding of the latter would admit one fd more than was meant.
CONTROL_BYTES = socket.CMSG_LEN(LEASE_FDS * _FD_BYTES)
RECEIVE_FLAGS = socket.MSG_CMSG_CLOEXEC

# What recvmsg returns: data, ancillary data, flags, address.
Received = tuple[bytes, list[tuple[int, int, bytes]], int, Any]


class PacketError(Exception):
    """The other end broke the packet rules, or this end cannot take what it sent.

    The connection is of no use any more. Every fd that came with the packet was closed.
    """


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. Whoever holds it owns the fds."""

    data: bytes
    fds: tuple[int, ...] = ()

    def close(self) -> None:
        """Close the fds."""
        close_all(self.fds)


def close_all(fds: Sequence[int]) -> None:
    """Close fds that nobody is going to use. An error of close(2) changes nothing: the fd is gone
    in any case, and there is nothing to be written back."""
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue


def send(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send one packet with copies of ``fds``, whole or not at all. The caller keeps its fds.

    Raises OSError as sendmsg(2) does: BlockingIOError, BrokenPipeError, EMSGSIZE when the packet
    does not fit into the send buffer, ETOOMANYREFS.
    """
    check_sendable(data, fds)
    sock.sendmsg([data], ancillary(fds), socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> Packet | None:
    """Receive one packet; None at the end of the connection. The fds are close-on-exec.

    Raises PacketError with every fd closed, and OSError.
    """
    return unpack(_take(sock, CONTROL_BYTES), sock.fileno())


def receive_plain(sock: socket.socket) -> bytes | None:
    """Receive one packet without a control buffer, so that the kernel drops fds a client sends.

    None at the end of the connection. Raises PacketError, and OSError.
    """
    return unpack_plain(_take(sock, 0), sock.fileno())


def check_sendable(data: bytes, fds: Sequence[int]) -> None:
    """Raise ValueError for what no receiver would take: a mistake of the caller."""
    if not data:
        raise ValueError("an empty packet looks like the end of the connection")
    if len(data) > PACKET_BYTES:
        raise ValueError(f"a packet of {len(data)} bytes; {PACKET_BYTES} is the most")
    if len(fds) > LEASE_FDS:
        raise ValueError(f"a packet with {len(fds)} fds; {LEASE_FDS} is the most")


def ancillary(fds: Sequence[int]) -> list[tuple[int, int, array[int]]]:
    """The control messages for sendmsg."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []


def unpack(received: Received, fileno: int) -> Packet | None:
    """Judge what recvmsg returned; None is the end of the connection. Raises PacketError."""
    data, control, flags, _ = received
    fds = _descriptors(control)
    lost = f"only {len(fds)} of the packet's fds arrived: too many, or RLIMIT_NOFILE is low"
    try:
        ended = _judge(data, flags, fileno, lost)
    except PacketError:
        close_all(fds)
        raise
    return None if ended else Packet(data, fds)


def unpack_plain(received: Received, fileno: int) -> bytes | None:
    """The same for recvmsg without a control buffer. A packet that came with fds is refused:
    MSG_CTRUNC is all that is left of them."""
    data, _, flags, _ = received
    return None if _judge(data, flags, fileno, "requests carry no fds") else data


def _take(sock: socket.socket, control_bytes: int) -> Received:
    try:
        return sock.recvmsg(PACKET_BYTES, control_bytes, RECEIVE_FLAGS)
    except ConnectionResetError:
        # The other end closed with packets of ours unread. The kernel says so once, and ahead of
        # what it had sent before; that is still there to be read.
        return sock.recvmsg(PACKET_BYTES, control_bytes, RECEIVE_FLAGS)


def _judge(data: bytes, flags: int, fileno: int, lost: str) -> bool:
    """Whether nothing more comes. Raises PacketError, with ``lost`` when fds went missing."""
    if flags & socket.MSG_CTRUNC:
        raise PacketError(lost)
    if flags & socket.MSG_TRUNC:
        raise PacketError(f"a packet of more than {PACKET_BYTES} bytes")
    if data:
        return False
    if _hung_up(fileno):
        return True
    raise PacketError("an empty packet")


def _hung_up(fileno: int) -> bool:
    """Whether the other end has closed or shut down.

    recvmsg(2) returns 0 bytes for an empty packet and at the end alike. At the end POLLRDHUP is
    set and stays set; after an empty packet it is not, unless the sender left right behind it,
    and then it is an end all the same. A negative fileno is a socket that was closed on this side.
    """
    if fileno < 0:
        return True
    poll = select.poll()
    poll.register(fileno, select.POLLRDHUP)
    return bool(poll.poll(0))


def _descriptors(control: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    fds = array("i")
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % _FD_BYTES])
    return tuple(fds)
