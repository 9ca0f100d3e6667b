"""What comes over sockets: a client's calls, the daemon's answers, control data, uevents."""

from __future__ import annotations

import errno
import json
import os
import socket
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from isod.client.conversation import Conversation
from isod.client.errors import CallError, ProtocolError
from isod.kernel.linux.uevent import change_of, parse_uevent
from isod.model.method import METHODS
from isod.model.request import PACKET_BYTES
from isod.wire import jsonrpc, packet

from .target import Take, Target

# --- calls --------------------------------------------------------------------------------------


def _calls(_: Path) -> Take:
    def take(data: bytes) -> None:
        incoming = jsonrpc.read(data)
        for entry in incoming.entries:
            match entry:
                case jsonrpc.Invalid():
                    json.loads(entry.response)
                case jsonrpc.Request() | jsonrpc.Notification():
                    method = METHODS.get(entry.method)
                    if method is not None:
                        try:
                            method.params.model_validate(dict(entry.params))
                        except ValidationError as error:
                            error.errors(include_url=False, include_input=False)
        if not incoming.batch:
            assert len(incoming.entries) == 1

    return take


def _call_seeds(_: Path) -> list[bytes]:
    calls: list[dict[str, object]] = [
        {"jsonrpc": "2.0", "id": number, "method": name, "params": {}}
        for number, name in enumerate(METHODS)
    ]
    address = {"address": "pci:0000:01:00.0", "generation": 3}
    acquire = {"devices": [address], "hand_over": "iommufd", "wait": 1.5, "key": "vm"}
    calls += [
        {"jsonrpc": "2.0", "id": "a", "method": "lease.acquire", "params": acquire},
        {"jsonrpc": "2.0", "method": "hello", "params": {"client": "x/1", "protocol": 1}},
    ]
    singles = [json.dumps(call).encode() for call in calls]
    return [*singles, json.dumps(calls[:3]).encode(), b"[]", b"[1]", b"\xef\xbb\xbf{}"]


# --- answers ------------------------------------------------------------------------------------


def _answers(_: Path) -> Take:
    """The daemon's answers, as a client takes them: fds that nobody is given are closed."""

    def take(data: bytes) -> None:
        count, data = (data[0] % 4, data[1:]) if data else (0, b"")
        fds = tuple(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(count))
        conversation = Conversation()
        asked = [conversation.ask("host.info", {})[0] for _ in range(3)]
        conversation.abandon(asked[2])
        try:
            conversation.feed(packet.Packet(data, fds))
            while conversation.next_event() is not None:
                pass
        except (ProtocolError, CallError) as error:
            assert str(error)
            assert not any(map(_is_open, fds))
        for identity in asked[:1]:
            try:
                answer = conversation.answer(identity)
            except CallError as error:
                assert isinstance(error.data, dict)
            else:
                if answer is not None:
                    assert answer.fds == fds
                    packet.close_all(answer.fds)
        conversation.end()
        assert not any(map(_is_open, fds)), "an fd stays open"

    return take


def _answer_seeds(_: Path) -> list[bytes]:
    lease = {"id": "L1", "secret": "s", "devices": []}
    refusal = {"reason": "group_busy", "hint": "wait", "fixed_by": "others", "retry": True}
    event = {"subscription": "s1", "seq": 1, "kind": "lease.granted", "note": "x"}
    answers: list[tuple[int, object]] = [
        (0, {"jsonrpc": "2.0", "id": 1, "result": {}}),
        (0, {"jsonrpc": "2.0", "id": 3, "result": {"fds": []}}),
        (2, {"jsonrpc": "2.0", "id": 1, "result": {"lease": lease, "fds": [{}, {}]}}),
        (1, {"jsonrpc": "2.0", "id": 3, "result": {"lease": lease, "fds": [{}]}}),
        (0, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x", "data": refusal}}),
        (0, {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "x"}}),
        (0, {"jsonrpc": "2.0", "method": "event", "params": event}),
        (0, {"jsonrpc": "2.0", "method": "event", "params": event | {"kind": "gap"}}),
        (0, [{"jsonrpc": "2.0", "id": one, "result": {}} for one in (1, 2)]),
    ]
    return [bytes([count]) + json.dumps(answer).encode() for count, answer in answers]


# --- control data -------------------------------------------------------------------------------

_FLAGS = (0, socket.MSG_CTRUNC, socket.MSG_TRUNC, socket.MSG_CTRUNC | socket.MSG_TRUNC)
_KINDS = (
    (socket.SOL_SOCKET, socket.SCM_RIGHTS),
    (socket.SOL_SOCKET, socket.SCM_RIGHTS),
    (socket.SOL_SOCKET, socket.SCM_CREDENTIALS),
    (socket.IPPROTO_IP, socket.SCM_RIGHTS),
)
_INT = array("i").itemsize
_LONGEST = 64


def _control(_: Path) -> Take:
    """What recvmsg may return: flags, then messages of a kind and a length, then the packet. Of
    every fd that came, unpack gives it or closes it."""

    def take(data: bytes) -> None:
        first, rest = (data[0], data[1:]) if data else (0, b"")
        control: list[tuple[int, int, bytes]] = []
        came: list[int] = []
        for _ in range(first >> 4 & 3):
            if len(rest) >= 2:
                level, kind = _KINDS[rest[0] % len(_KINDS)]
                content = rest[2 : 2 + rest[1] % _LONGEST]
                rest = rest[2 + len(content) :]
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    content = _made_real(content, came)
                control.append((level, kind, content))
        with _socket(hung_up=bool(first & 4)) as fileno:
            received = (rest, control, _FLAGS[first & 3], None)
            try:
                if first & 8:
                    plain = packet.unpack_plain(received, fileno)
                    assert plain is None or (plain == rest and not first & 3)
                    packet.close_all(came)
                else:
                    _unpack(received, fileno, came)
            except packet.PacketError as error:
                assert str(error)
                packet.close_all(came if first & 8 else ())
        assert not any(map(_is_open, came)), "an fd stays open"

    return take


def _unpack(received: packet.Received, fileno: int, came: list[int]) -> None:
    unpacked = packet.unpack(received, fileno)
    if unpacked is None:
        # At the end of a connection the kernel gives no fds.
        packet.close_all(came)
    else:
        assert unpacked.data == received[0]
        assert list(unpacked.fds) == came
        unpacked.close()


def _made_real(content: bytes, came: list[int]) -> bytes:
    """With numbers of files that are open, and ours to close; what is no whole number stays."""
    whole = len(content) - len(content) % _INT
    fds = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(whole // _INT)]
    came += fds
    return array("i", fds).tobytes() + content[whole:]


@contextmanager
def _socket(*, hung_up: bool) -> Iterator[int]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        if hung_up:
            far.close()
        yield near.fileno()


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError as error:
        assert error.errno == errno.EBADF
        return False
    return True


def _control_seeds(_: Path) -> list[bytes]:
    messages = (b"", b"\x00\x08" + bytes(8), b"\x00\x06" + bytes(6), b"\x02\x0c" + bytes(12))
    return [
        bytes([flags | bool(message) << 4]) + message + data
        for flags in (0, 1, 2, 4, 8, 9)
        for message in messages
        for data in (b"", b"{}")
    ]


# --- uevents ------------------------------------------------------------------------------------

_DEVICE = "0000:01:00.0"


def _uevents(_: Path) -> Take:
    def take(data: bytes) -> None:
        event = parse_uevent(data)
        if event is not None:
            change = change_of(event)
            assert change.rescan or len(change.addresses) <= 1

    return take


def _uevent_seeds(_: Path) -> list[bytes]:
    path = f"/devices/pci0000:00/0000:00:1c.0/{_DEVICE}"
    events = (
        f"bind@{path}\0ACTION=bind\0SUBSYSTEM=pci\0DRIVER=vfio-pci\0PCI_SLOT_NAME={_DEVICE}\0",
        f"add@{path}/vfio-dev/vfio0\0ACTION=add\0SUBSYSTEM=vfio-dev\0DEVNAME=vfio/devices/vfio0\0",
        "add@/devices/virtual/mdev/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001\0SUBSYSTEM=mdev\0",
        "change@/devices/virtual/iommu/dmar0\0SUBSYSTEM=iommu\0",
    )
    return [*(event.encode() for event in events), b"libudev\0\xfe\xed\xca\xfe"]


TARGETS = {
    "packets": Target(_calls, _call_seeds, PACKET_BYTES + 16),
    "answers": Target(_answers, _answer_seeds, PACKET_BYTES + 16, runs=20_000),
    "control-data": Target(_control, _control_seeds, 512, runs=20_000),
    "uevents": Target(_uevents, _uevent_seeds, 16384),
}
