"""Plays a sequence on a host and writes down what comes of each operation."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from isod.model.address import Address
from isod.model.host import VFIO_PCI, Device
from isod.model.lease import LeaseDevice
from isod.model.reason import RefusedError
from isod.model.step import (
    Bind,
    GroupName,
    HandOver,
    OpenGroup,
    OpenIommufd,
    Probe,
    Reset,
    Restore,
    Step,
    StepResult,
    Unbind,
)

from .operation import BEGIN, END, Operation, Scene, Sequence, played
from .side import Seen, Side

VOID = "void"
_OPENS = frozenset({"container", "iommufd", "group", "cdev"})
_QUIET = frozenset(
    {"status", "config", "info", "map", "unmap", "ioas", "dup", "pass", "container", "iommufd"}
    | {"set_container", "set_iommu", "attach", "detach"}
)
_PROBES: dict[str, tuple[HandOver, bool, bool]] = {
    "held": ("group", False, True),
    "group": ("group", False, False),
    "group-full": ("group", True, False),
    "iommufd": ("iommufd", False, False),
    "iommufd-full": ("iommufd", True, False),
    "nodes": ("nodes", False, False),
}


@dataclass(frozen=True)
class Outcome:
    """What an operation was answered, and how the host looks to isod afterwards (empty after one
    that changes nothing)."""

    answer: str
    host: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join((self.answer, *self.host))


def play(side: Side, scene: Scene, sequence: Sequence) -> list[Outcome]:
    """What came of each operation of ``played``. At the end nothing is open, no fence waits."""
    for number, device in enumerate(scene.devices):
        side.arrange(device, scene.drivers[number], scene.resets[number])
    devices = {f"d{number}": _look(side, name) for number, name in enumerate(scene.devices)}
    groups = {
        f"d{number}": found
        for number, name in enumerate(scene.devices)
        if (found := side.groups.get(name)) is not None
    }
    player = _Player(side, scene, devices, groups)
    try:
        return [player.play(operation) for operation in played(sequence)]
    finally:
        player.close()


def _look(side: Side, name: str) -> Device:
    """As isod scans it, and its group; once on each host, where nothing is plugged and address,
    generation and group stay."""
    if name not in side.known:
        found = side.kernel.look(Address.pci(name))
        assert found is not None
        side.known[name] = found
        if found.group is not None:
            side.groups[name] = _group(side, found)
    return side.known[name]


def _group(side: Side, device: Device) -> GroupName:
    assert device.group is not None
    group = side.kernel.look_group(device.group)
    assert group is not None
    return GroupName(group.number, group.generation)


@dataclass
class _Player:
    side: Side
    scene: Scene
    devices: Mapping[str, Device]
    groups: Mapping[str, GroupName]
    seen: dict[str, Seen] = field(default_factory=dict)
    """Again after each operation that may change what there is to be seen."""
    leased: Collection[LeaseDevice] = ()
    distinct: Collection[GroupName] = ()
    files: dict[tuple[str, str], int] = field(default_factory=dict)
    spaces: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.leased = [
            LeaseDevice(one.address, one.generation, one.group, "requested")
            for one in self.devices.values()
            if one.group is not None
        ]
        self.distinct = sorted(set(self.groups.values()), key=_number)

    def play(self, operation: Operation) -> Outcome:
        acts = {"a": self._client, "b": self._client, "isod": self._isod, "root": self._root}
        if operation in (BEGIN, END):
            return Outcome("ok", self._look())
        waiting = self.side.waiting()
        try:
            answer = acts[operation.who](operation)
        except RefusedError as error:
            refusal = error.refusal
            number = refusal.details.get("errno")
            devices = refusal.details.get("devices", ())
            named = ", ".join(devices) if isinstance(devices, list) else ""
            answer = f"refused {refusal.reason.name} {_errno(number)} {named}".strip()
        except OSError as error:
            answer = _errno(error.errno)
        if answer == VOID or operation.what in _QUIET:
            return Outcome(answer)
        # A client changes who has what open, and drivers only by ending the wait of a fence.
        if operation.who in "ab" and not waiting:
            return Outcome(answer, self._look_at_use())
        return Outcome(answer, self._look())

    def close(self) -> None:
        """Close everything; a fence that waited ends by that."""
        for descriptor in self.files.values():
            os.close(descriptor)
        self.files.clear()
        left = self.side.waiting()
        assert not left, f"the fences of {sorted(left)} wait with nothing open"

    # --- the clients ------------------------------------------------------------------------------

    def _client(self, operation: Operation) -> str:
        who, what, on = operation.who, operation.what, operation.on
        needed = {"device": on[1:2], "ioas": on[1:2], "dup": on[:1], "pass": on[:1]}
        opens = what in _OPENS
        known = [] if opens else [self._file(who, name) for name in needed.get(what, on)]
        if any(descriptor is None for descriptor in known):
            return VOID
        files = [descriptor for descriptor in known if descriptor is not None]
        if opens:
            self._keep(who, on[0], self._open(what, on))
        elif what == "device":
            self._keep(who, on[0], self.side.raw.get_device(files[0], self.scene.device(on[2])))
        elif what == "ioas":
            self.spaces[who, on[0]] = self.side.raw.allocate_space(files[0])
        elif what == "dup":
            self._keep(who, on[1], os.dup(files[0]))
        elif what == "pass":
            self._keep("b" if who == "a" else "a", on[1], _passed(files[0]))
        elif what == "close":
            os.close(self.files.pop((who, on[0])))
        else:
            return self._control(what, files)
        return "ok"

    def _file(self, who: str, name: str) -> int | None:
        """The number behind the name of a file, or of an address space."""
        return self.files.get((who, name), self.spaces.get((who, name)))

    def _open(self, what: str, on: tuple[str, ...]) -> int:
        raw = self.side.raw
        match what:
            case "container":
                return raw.open_container()
            case "iommufd":
                return raw.open_iommufd()
            case "group":
                return raw.open_group(self._group(on[1]).number)
        return raw.open_cdev(self.seen[on[1]].cdev or "none")

    def _control(self, what: str, files: list[int]) -> str:
        raw, first = self.side.raw, files[0]
        match what:
            case "set_container":
                raw.set_container(first, files[1])
            case "unset_container":
                raw.unset_container(first)
            case "set_iommu":
                raw.set_iommu(first)
            case "status":
                return f"ok {raw.status(first)}"
            case "bind":
                raw.bind(first, files[1])
            case "attach":
                raw.attach(first, files[1])
            case "detach":
                raw.detach(first)
            case "config":
                return f"ok {raw.read_config(first)}"
            case "reset":
                raw.reset(first)
            case "info":
                return f"ok {raw.hot_reset_info(first)}"
            case "hot":
                raw.hot_reset(first, files[1:])
            case "map":
                raw.map(first)
            case "unmap":
                return f"ok {raw.unmap(first)}"
            case _:
                raise ValueError(f"a client cannot {what}")
        return "ok"

    def _keep(self, who: str, name: str, descriptor: int) -> None:
        former = self.files.pop((who, name), None)
        if former is not None:
            os.close(former)
        self.files[who, name] = descriptor

    # --- isod and root ----------------------------------------------------------------------------

    def _isod(self, operation: Operation) -> str:
        what, (name, *more) = operation.what, operation.on
        device = self.devices[name]
        if what in ("unbind", "bind", "restore", "reset", "fence") and self._held(device):
            return VOID
        if what == "fence":
            self.side.begin_fence(device.address.name)
            return "ok"
        result = self.side.kernel.run(self._step(what, name, more))
        for file, kept in zip(result.files, more[1:], strict=False):
            self._keep(more[0], kept, file.descriptor)
        return _told(result)

    def _step(self, what: str, name: str, more: list[str]) -> Step:  # noqa: PLR0911
        address, generation = self.devices[name].address, self.devices[name].generation
        match what:
            case "unbind":
                return Unbind(address, generation, self.seen[name].driver or "nothing", VFIO_PCI)
            case "bind":
                return Bind(address, generation, VFIO_PCI)
            case "restore":
                driver = None if more[0] == "none" else more[0]
                return Restore(address, generation, driver, driver)
            case "reset":
                return Reset(address, generation, required=True)
            case "probe":
                hand_over, full, held_only = _PROBES[more[0]]
                return Probe(self._group(name), hand_over, address, full, held_only)
            case "open_group":
                return OpenGroup((self._group(name),), (address,))
            case "open_iommufd":
                return OpenIommufd((address,))
        raise ValueError(f"isod cannot {what}")

    def _root(self, operation: Operation) -> str:
        what, (name, *more) = operation.what, operation.on
        device = self.devices[name]
        if self._held(device):
            return VOID
        if what == "override":
            self.side.override(device.address.name, None if more[0] == "none" else more[0])
        elif what == "release":
            if self.seen[name].driver in (None, VFIO_PCI):
                return VOID
            self.side.release(device.address.name)
        elif what == "probe":
            self.side.probe(device.address.name)
        else:
            raise ValueError(f"root cannot {what}")
        return "ok"

    # --- looking ----------------------------------------------------------------------------------

    def _group(self, name: str) -> GroupName:
        if name not in self.groups:
            raise OSError(errno.ENOENT, "it has no group")
        return self.groups[name]

    def _held(self, device: Device) -> bool:
        """Whether an unbind holds the device's lock: writes would wait with it."""
        return device.address.name in self.side.waiting()

    def _look(self) -> tuple[str, ...]:
        """Drivers and nodes of the devices, and their use."""
        # Before the look: what ended by now is seen as ended.
        self.side.waiting()
        self.seen = {name: self.side.see(one.address.name) for name, one in self.devices.items()}
        drivers = (
            f"{name} on {one.driver}, override {one.override}"
            + (", with a node" if one.cdev else "")
            for name, one in self.seen.items()
        )
        return (*drivers, *self._look_at_use())

    def _look_at_use(self) -> tuple[str, ...]:
        waiting = self.side.waiting()
        use = self.side.kernel.use(self.leased, self.distinct)
        said = {
            "open": [name for name, one in self.devices.items() if one.address in use.open],
            "busy": [name for name, one in self.devices.items() if one.group in use.busy_groups],
            "fence waits": [
                name for name, one in self.devices.items() if one.address.name in waiting
            ],
        }
        return tuple(f"{what}: {' '.join(names)}" for what, names in said.items() if names)


def _number(group: GroupName) -> int:
    return group.number


def _passed(descriptor: int) -> int:
    """A copy that came over a socket."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        socket.send_fds(near, [b"."], [descriptor])
        _, (received,), _, _ = socket.recv_fds(far, 1, 1)
    return received


def _errno(number: object) -> str:
    return errno.errorcode.get(number, str(number)) if isinstance(number, int) else "-"


def _told(result: StepResult) -> str:
    warned = f" with {len(result.warnings)} warnings" if result.warnings else ""
    return f"ok{warned}"
