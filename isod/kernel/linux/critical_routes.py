"""Routes over rtnetlink: over which network interfaces the host reaches everything, or one server.

include/uapi/linux/rtnetlink.h and nexthop.h. Dumps show every table of the network namespace that
this process is in, whatever the rules that choose among them. Nothing here needs a capability.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import Protocol

_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=8BI")
_NEXTHOP_MESSAGE = struct.Struct("=4BI")
_ATTRIBUTE = struct.Struct("=HH")
_HOP = struct.Struct("=HBBi")
_GROUP_ENTRY = struct.Struct("=IBBH")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_RTM_NEWNEXTHOP, _RTM_GETNEXTHOP = 104, 106
_RTN_UNICAST = 1
_RTA_DST, _RTA_OIF, _RTA_MULTIPATH, _RTA_NH_ID = 1, 4, 9, 30
_NHA_ID, _NHA_GROUP, _NHA_OIF = 1, 2, 5
_TYPE_MASK = 0x3FFF

_PACKET = 1 << 16
_TRIES = 5
_SECONDS = 2.0
# 0.0.0.0/1 with 128.0.0.0/1, and 2000::/3, are default routes by another name.
_SHORTEST = {socket.AF_INET: 1, socket.AF_INET6: 3}

Attributes = dict[int, bytes]


class Routes(Protocol):
    """What the network reader asks. Raises OSError where the kernel does not answer."""

    def default(self) -> frozenset[int]:
        """The indices of the interfaces that default routes lead over; 0 for a route whose
        interface cannot be told."""
        ...

    def towards(self, server: str) -> int | None:
        """The index of the interface over which an IP address is reached; None if none is."""
        ...


class KernelRoutes:
    """The routes of this process's network namespace, asked anew each time."""

    def default(self) -> frozenset[int]:
        found: set[int] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            # A kernel without IPv6 answers with what it has of other families.
            for body in _dump(_RTM_GETROUTE, _ROUTE.pack(family, *[0] * 8)):
                if len(body) < _ROUTE.size:
                    raise OSError("a route that is too short")
                seen, length, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(body)
                if seen == family and kind == _RTN_UNICAST and length <= _SHORTEST[family]:
                    found |= _interfaces(_attributes(body[_ROUTE.size :]))
        return frozenset(found)

    def towards(self, server: str) -> int | None:
        address = ipaddress.ip_address(server.partition("%")[0])
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        head = _ROUTE.pack(family, address.max_prefixlen, *[0] * 7)
        wanted = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address.packed), _RTA_DST) + address.packed
        try:
            answers = _ask(_RTM_GETROUTE, _NLM_F_REQUEST, head + wanted)
        except OSError:
            return None
        for body in answers:
            interface = _attributes(body[_ROUTE.size :]).get(_RTA_OIF)
            if interface is not None:
                return int.from_bytes(interface, "little")
        return None


def _interfaces(route: Attributes) -> set[int]:
    """The interfaces of one route; 0 stands for one that cannot be told."""
    if _RTA_OIF in route:
        return {int.from_bytes(route[_RTA_OIF], "little")}
    if _RTA_MULTIPATH in route:
        return set(_hops(route[_RTA_MULTIPATH])) or {0}
    if _RTA_NH_ID in route:
        # Where nexthop_compat_mode is off the dump names the nexthop object alone.
        return _nexthop(int.from_bytes(route[_RTA_NH_ID], "little"))
    return {0}


def _hops(data: bytes) -> Iterator[int]:
    while len(data) >= _HOP.size:
        length, _, _, interface = _HOP.unpack_from(data)
        yield interface
        data = data[max(_aligned(length), _HOP.size) :]


def _nexthop(wanted: int) -> set[int]:
    nexthops = {}
    for body in _dump(_RTM_GETNEXTHOP, _NEXTHOP_MESSAGE.pack(0, 0, 0, 0, 0)):
        attributes = _attributes(body[_NEXTHOP_MESSAGE.size :])
        nexthops[int.from_bytes(attributes.get(_NHA_ID, b""), "little")] = attributes
    found = nexthops.get(wanted, {})
    group = found.get(_NHA_GROUP, b"")
    members = [_GROUP_ENTRY.unpack_from(group, at)[0] for at in range(0, len(group) - 7, 8)]
    parts = [nexthops.get(member, {}) for member in members] or [found]
    return {int.from_bytes(part.get(_NHA_OIF, b""), "little") for part in parts}


def _dump(kind: int, body: bytes) -> list[bytes]:
    """A whole table. One that changed while it was dumped is dumped again."""
    for _ in range(_TRIES):
        try:
            return _ask(kind, _NLM_F_REQUEST | _NLM_F_DUMP, body)
        except InterruptedError:
            continue
    raise OSError("the routes change too fast to be read")


def _ask(kind: int, flags: int, body: bytes) -> list[bytes]:
    """Ask once; the answers' bodies. Raises OSError, InterruptedError for a torn dump."""
    found: list[bytes] = []
    torn = False
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as asking:
        asking.settimeout(_SECONDS)
        asking.bind((0, 0))
        asking.sendto(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body, (0, 0))
        while True:
            data, _, shape, sender = asking.recvmsg(_PACKET)
            if shape & socket.MSG_TRUNC or not data:
                raise OSError("an answer that is too long")
            if sender[0] != 0:
                continue  # not the kernel
            for answer, marks, part in _messages(data):
                torn |= bool(marks & _NLM_F_DUMP_INTR)
                if answer in (_NLMSG_ERROR, _NLMSG_DONE):
                    number = -int.from_bytes(part[:4], "little", signed=True)
                    if number > 0:
                        raise OSError(number, os.strerror(number))
                    if torn:
                        raise InterruptedError
                    return found
                found.append(part)
            if not flags & _NLM_F_DUMP:
                return found


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    while data:
        if len(data) < _HEADER.size:
            raise OSError("a message that is too short")
        length, kind, flags, _, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise OSError("a message of a wrong length")
        yield kind, flags, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _attributes(data: bytes) -> Attributes:
    found: Attributes = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise OSError("an attribute of a wrong length")
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3
