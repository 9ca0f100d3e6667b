"""A daemon that behaves, as far as a client can see: three devices in two groups, leases with a
hold, and refusals. It runs in a thread, on one end of a socket pair or on a path."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from isod.model import isolation, reply, request, reset
from isod.model.address import Address
from isod.model.method import METHODS
from isod.model.reason import Reason, RefusedError
from isod.wire import jsonrpc, packet
from isod.wire.jsonrpc import Code, Invalid, Request

GROUPS = {12: ("0000:01:00.0", "0000:01:00.1"), 13: ("0000:02:00.0",)}
SECRET = "open sesame"


def device(name: str, group: int) -> reply.DeviceInfo:
    facts: dict[str, Any] = {
        "address": Address.pci(name),
        "generation": 100,
        "vendor": "8086",
        "product": "10d3",
        "class": "020000",
        "driver": "e1000e",
        "driver_override": None,
        "group": group,
        "numa_node": None,
        "reset": "function",
        "reset_methods": ["flr"],
        "bridges": [],
        "bridge": False,
        "slot": None,
        "physical_function": None,
        "virtual_functions": [],
        "cdev": None,
        "state": "host",
    }
    return reply.DeviceInfo.model_validate(facts)


DEVICES = tuple(device(name, group) for group, names in GROUPS.items() for name in names)


def _isolation(address: Address) -> isolation.IsolationInfo:
    if address not in (one.address for one in DEVICES):
        raise RefusedError(Reason.not_found, "there is no such device")
    return isolation.IsolationInfo(
        address=address,
        group=12,
        isolation="unknown",
        granule=isolation.Granule(known=False, members=(address,)),
        path=(isolation.Hop(address=address, kind=None, redirects="unknown", why="is new"),),
        companions=(),
        total=0,
        unread=(address,),
        snapshot=1,
    )


def _reset_set(address: Address) -> reset.ResetSetInfo:
    if address not in (one.address for one in DEVICES):
        raise RefusedError(Reason.not_found, "there is no such device")
    return reset.ResetSetInfo(
        address=address,
        by="bus",
        slot=None,
        alone=True,
        members=(),
        total=0,
        reset=reset.ResetAnswer(hot="permitted_when", when="it is bound", bind_groups=(12,)),
        snapshot=1,
    )


class FakeDaemon:
    """One client's daemon. ``holds`` has the read ends of its hold pipes, by lease.

    ``page`` is how many items a page has, ``most`` what limit still fits a packet, and ``expire``
    how many listings break off because the host has changed.
    """

    def __init__(self, *, page: int = 2, expire: int = 0) -> None:
        self.page = page
        self.most = 500
        self.expire = expire
        self.asked: list[Request] = []
        self.leases: dict[str, reply.LeaseInfo] = {}
        self.holds: dict[str, list[int]] = {}
        self.farewell: bytes | None = None

    def serve(self, sock: socket.socket) -> None:
        """Answer until the client leaves."""
        with sock:
            while (data := packet.receive_plain(sock)) is not None and self.farewell is None:
                for entry in jsonrpc.read(data).entries:
                    if isinstance(entry, Invalid):
                        packet.send(sock, entry.response)
                    elif isinstance(entry, Request):
                        self.asked.append(entry)
                        self.answer(sock, entry)
            if self.farewell is not None:
                packet.send(sock, self.farewell)

    def answer(self, sock: socket.socket, asked: Request) -> None:
        fds: list[int] = []
        try:
            written = jsonrpc.result(asked.id, self.result(asked, fds))
        except RefusedError as error:
            written = jsonrpc.refusal(asked.id, error.refusal)
        except OverflowError:
            written = jsonrpc.error(asked.id, Code.reply_too_long)
        except KeyError:
            written = jsonrpc.error(asked.id, Code.method_not_found)
        except ValidationError as error:
            written = jsonrpc.error(asked.id, Code.invalid_params, str(error))
        try:
            packet.send(sock, written, fds)
        except BrokenPipeError:
            return
        finally:
            packet.close_all(fds)

    def result(self, asked: Request, fds: list[int]) -> BaseModel | object:
        params = METHODS[asked.method].params.model_validate(asked.params)
        match params:
            case request.Acquire():
                return self.acquire(params, fds)
            case request.OwnLease():
                return self.own(asked.method, params, fds)
            case request.LeaseName():
                return reply.LeaseResult(lease=self._known(params.lease))
            case request.Page():
                return self.listing(asked.method, params)
            case request.OneDevice():
                about: dict[str, Callable[[Address], BaseModel]] = {
                    "host.isolation": _isolation,
                    "host.reset_set": _reset_set,
                }
                return about[asked.method](params.address)
        simple = {"hello": _greeting(), "host.info": _info(len(self.leases))}
        return simple.get(asked.method, {"openrpc": "1.3.2"})

    def own(self, method: str, params: request.OwnLease, fds: list[int]) -> BaseModel:
        if params.secret != SECRET:
            raise RefusedError(Reason.not_yours, "the secret is another")
        found = self._known(params.lease).model_copy(update={"secret": None})
        if method == "lease.open":
            return reply.AcquireResult(lease=found, fds=self._hand_over(found, fds))
        self.leases[found.id] = found.model_copy(update={"state": "draining"})
        return reply.LeaseResult(lease=self.leases[found.id])

    def listing(self, method: str, params: request.Page) -> BaseModel:
        start = int(params.after or 0)
        if params.limit > self.most:
            raise OverflowError("the page does not fit a packet")
        if start and self.expire:
            self.expire -= 1
            raise RefusedError(Reason.expired, "the host has changed")
        groups = tuple(
            reply.GroupInfo(
                number=number,
                generation=1,
                kind="DMA",
                devices=tuple(Address.pci(name) for name in names),
                state="free",
            )
            for number, names in GROUPS.items()
        )
        leases = tuple(self.leases.values())
        whole: Sequence[BaseModel] = {
            "host.devices": DEVICES,
            "host.groups": groups,
            "lease.list": leases,
        }[method]
        end = start + min(self.page, params.limit)
        following = str(end) if end < len(whole) else None
        part = whole[start:end]
        if method == "host.devices":
            return reply.DevicePage.model_construct(devices=part, next=following, snapshot=1)
        if method == "host.groups":
            return reply.GroupPage.model_construct(groups=part, next=following, snapshot=1)
        return reply.LeasePage.model_construct(leases=part, next=following)

    def acquire(self, params: request.Acquire, fds: list[int]) -> reply.AcquireResult:
        wanted = {one.address for one in params.named}
        groups = {one.group for one in DEVICES if one.address in wanted}
        if {one.address for one in DEVICES} & wanted != wanted:
            raise RefusedError(Reason.not_found, "no such device", devices=sorted(wanted))
        taken = {one.group for lease in self.leases.values() for one in lease.devices}
        if groups & taken:
            holder = {"yours": False}
            devices = sorted(wanted)
            raise RefusedError(
                Reason.group_busy, "the group is leased", devices=devices, holder=holder
            )
        lease = reply.LeaseInfo(
            id=f"L{len(self.leases) + 1}",
            state="leased",
            rule="anybody",
            hand_over=params.hand_over or "iommufd",
            devices=tuple(
                reply.LeasedDevice(
                    address=one.address,
                    generation=100,
                    group=one.group or 0,
                    why="requested" if one.address in wanted else "sibling",
                    parked=one.address not in wanted,
                )
                for one in DEVICES
                if one.group in groups
            ),
            owner=reply.LeaseOwner(uid=1000, pid=4121),
            granted_at=0.0,
            key=params.key,
            secret=SECRET,
        )
        self.leases[lease.id] = lease
        roles = self._hand_over(lease, fds)
        return reply.AcquireResult(lease=lease, warnings=("a warning",), fds=roles)

    def _hand_over(self, lease: reply.LeaseInfo, fds: list[int]) -> tuple[reply.FileRole, ...]:
        """A new hold, and the files. A lease opened again has several holds."""
        read_end, write_end = os.pipe()
        self.holds.setdefault(lease.id, []).append(read_end)
        fds.append(write_end)
        return (reply.FileRole(role="hold"), *_files(lease, fds))

    def hold_is_gone(self, lease: str) -> bool:
        """Whether the last copy of the hold closes: this thread's own may take a moment."""
        return all(select.select([hold], [], [], 10)[0] for hold in self.holds[lease])

    def hold_is_there(self, lease: str) -> bool:
        """Whether somebody has the hold."""
        return select.select(self.holds[lease], [], [], 0)[0] != self.holds[lease]

    def close(self) -> None:
        for holds in self.holds.values():
            packet.close_all(holds)
        self.holds.clear()

    def _known(self, lease: str) -> reply.LeaseInfo:
        if lease not in self.leases:
            raise RefusedError(Reason.not_found, f"no lease {lease}")
        return self.leases[lease]


def _files(lease: reply.LeaseInfo, fds: list[int]) -> tuple[reply.FileRole, ...]:
    """Open what the hand-over consists of. A file's name says what it stands for."""
    requested = [one for one in lease.devices if not one.parked]
    roles = [
        reply.FileRole(role="device", address=one.address, state="unbound") for one in requested
    ]
    if lease.hand_over == "iommufd":
        roles.insert(0, reply.FileRole(role="iommufd"))
    elif lease.hand_over == "group":
        numbers = sorted({one.group for one in requested})
        roles[:0] = [reply.FileRole(role="group", group=number) for number in numbers]
        roles.insert(0, reply.FileRole(role="container"))
    else:
        roles = []
    for role in roles:
        fds.append(os.memfd_create(str(role.address or role.group or role.role)))
    return tuple(roles)


def _greeting() -> reply.HelloResult:
    return reply.HelloResult(
        protocol=1,
        server="isod 0.1",
        features=("iommufd", "group", "nodes"),
        you=reply.You(uid=1000),
        limits=reply.PacketLimits(packet=request.PACKET_BYTES, fds=request.LEASE_FDS),
    )


def _info(leases: int) -> reply.HostInfo:
    return reply.HostInfo(
        kernel="6.18",
        simulated=True,
        features=reply.KernelFeatures(iommufd=True, cdev=True, container=True, noiommu=False),
        hand_overs=("iommufd",),
        devices=len(DEVICES),
        groups=len(GROUPS),
        leases=leases,
        snapshot=1,
        policy=1,
    )


@contextmanager
def in_a_thread(target: Any, *arguments: object) -> Iterator[None]:
    """Run a server beside the test, and see it end."""
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
    assert not thread.is_alive()


@contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the daemon's end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@contextmanager
def serving(daemon: FakeDaemon) -> Iterator[socket.socket]:
    """The client's end of a connection to a daemon."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with in_a_thread(daemon.serve, theirs), ours:
        yield ours
    daemon.close()


@contextmanager
def listening(daemon: FakeDaemon, path: Path) -> Iterator[None]:
    """A daemon that takes one connection on a path."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()

    def accept() -> None:
        with listener:
            connection, _ = listener.accept()
        daemon.serve(connection)

    with in_a_thread(accept):
        yield
    daemon.close()
