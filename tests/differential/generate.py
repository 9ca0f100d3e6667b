"""Draws scenes and sequences from a seed: mostly what clients really do, in pieces and disorder."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from isod.model.host import VFIO_PCI

from .operation import Operation, Scene
from .operation import Sequence as Operations

_PROBES = ("held", "group", "group-full", "iommufd", "iommufd-full", "nodes")
_LEFT_OUT = 0.07
_LENGTH = 14


@dataclass(frozen=True)
class Stock:
    """What a host has for scenes: sets of devices that belong together, each as likely as its
    weight, and what the kernel's driver of each device is,
    and its reset methods."""

    sets: Mapping[tuple[str, ...], float]
    native: Mapping[str, str]
    resets: Mapping[str, tuple[str, ...]]


def draw(seed: str, stock: Stock) -> tuple[Scene, Operations]:
    """A scene and a sequence: the same for the same seed and stock."""
    chance = random.Random(seed)
    devices = chance.choices(list(stock.sets), list(stock.sets.values()))[0]
    drivers = tuple(_first_driver(chance, stock, device) for device in devices)
    resets = tuple(_resets(chance, stock.resets[device]) for device in devices)
    scene = Scene(devices, drivers, resets)
    names = [f"d{number}" for number in range(len(devices))]
    native = {
        name: stock.native[device]
        for name, device in zip(names, devices, strict=True)
        if device in stock.native
    }
    writer = _Writer(chance, names, native)
    length = chance.randint(4, _LENGTH)
    while len(writer.written) < length:
        writer.go_on()
    return scene, tuple(writer.written[: _LENGTH + 4])


def _first_driver(chance: random.Random, stock: Stock, device: str) -> str | None:
    choices = [VFIO_PCI, None, "pci-stub", stock.native.get(device)]
    return chance.choices(choices, (86, 6, 4, 4))[0]


def _resets(chance: random.Random, methods: tuple[str, ...]) -> str | None:
    """As the kernel chose, or the first method alone, or none."""
    if not methods or chance.random() < 0.6:
        return None
    return chance.choice((methods[0], ""))


@dataclass
class _Writer:
    """Knows what files there would be if everything went well.

    ``native`` are the kernel's own drivers of devices. None is tried on another device: an override
    matches anything, and what a driver then makes of a strange card is between the two of them
    (7.2's e1000e takes an igb).
    """

    chance: random.Random
    devices: Sequence[str]
    native: Mapping[str, str]
    written: list[Operation] = field(default_factory=list)
    files: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    spaces: dict[str, list[str]] = field(default_factory=dict)
    count: int = 0

    def go_on(self) -> None:
        who = self.chance.choice("ab")
        acts: list[tuple[Callable[[], None], float]] = [
            (lambda: self._by_group(who), 16),
            (lambda: self._by_cdev(who), 16),
            (lambda: self._handed_over(who), 10),
            (lambda: self._one_step(who), 22),
            (lambda: self._hot_reset(who), 12),
            (lambda: self._close(who), 16),
            (lambda: self._share(who), 8),
            (self._isod, 16),
            (self._root, 2),
        ]
        self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]()

    # --- phrases ----------------------------------------------------------------------------------

    def _by_group(self, who: str) -> None:
        device = self.chance.choice(self.devices)
        container = self._some(who, "container") if self.chance.random() < 0.3 else None
        if container is None:
            container = self._opened(who, "container", "container")
        group = self._opened(who, "group", "group", device)
        self._maybe(who, "set_container", group, container)
        self._maybe(who, "set_iommu", container)
        if self.chance.random() < 0.8:
            self._opened(who, "device", "device", group, device)

    def _by_cdev(self, who: str) -> None:
        device = self.chance.choice(self.devices)
        context = self._some(who, "iommufd") if self.chance.random() < 0.5 else None
        if context is None:
            context = self._opened(who, "iommufd", "iommufd")
        node = self._opened(who, "device", "cdev", device)
        if self.chance.random() < 0.8:
            self._write(who, "bind", node, context)
            if self.chance.random() < 0.3:
                space = self._named("s")
                self._write(who, "ioas", space, context)
                self.spaces.setdefault(who, []).append(space)
                self._maybe(who, "attach", node, space)

    def _handed_over(self, who: str) -> None:
        device = self.chance.choice(self.devices)
        what = self.chance.choice(("open_group", "open_iommufd"))
        kinds = ("container", "group", "device") if what == "open_group" else ("iommufd", "device")
        names = [self._named(kind[0]) for kind in kinds]
        self._write("isod", what, device, who, *names)
        for kind, name in zip(kinds, names, strict=True):
            self.files.setdefault((who, kind), []).append(name)

    def _one_step(self, who: str) -> None:
        """Any ioctl on anything that it may be meant for."""
        what, kinds = self.chance.choice(
            (
                ("set_container", ("group", "container")),
                ("unset_container", ("group",)),
                ("set_iommu", ("container",)),
                ("status", ("group",)),
                ("bind", ("device", "iommufd")),
                ("detach", ("device",)),
                ("config", ("device",)),
                ("reset", ("device",)),
                ("reset", ("device",)),
                ("info", ("device",)),
                ("map", ("container",)),
                ("unmap", ("container",)),
            )
        )
        found = [self._some(who, kind) for kind in kinds]
        if all(found):
            self._write(who, what, *(name for name in found if name is not None))
        group, space = self._some(who, "group"), self._some_space(who)
        if what == "status" and group is not None:
            self._opened(who, "device", "device", group, self.chance.choice(self.devices))
        node = self._some(who, "device")
        if what == "detach" and node is not None and space is not None:
            self._write(who, "attach", node, space)

    def _hot_reset(self, who: str) -> None:
        device = self._some(who, "device")
        if device is None:
            return
        if self.chance.random() < 0.6:
            self._write(who, "info", device)
        groups = list(self.files.get((who, "group"), ()))
        if self.chance.random() < 0.3:
            self.chance.shuffle(groups)
            groups = groups[: self.chance.randint(0, len(groups))]
        if self.chance.random() < 0.05:
            groups.append(device)
        self._write(who, "hot", device, *groups)

    def _close(self, who: str) -> None:
        kinds = [kind for (whose, kind), names in self.files.items() if whose == who and names]
        if not kinds:
            return
        kind = self.chance.choice(sorted(kinds))
        name = self.chance.choice(self.files[who, kind])
        self.files[who, kind].remove(name)
        self._write(who, "close", name)

    def _share(self, who: str) -> None:
        kind = self.chance.choice(("device", "group", "container", "iommufd"))
        name = self._some(who, kind)
        if name is None:
            return
        what = self.chance.choice(("dup", "pass"))
        copy = self._named(name[0])
        self._write(who, what, name, copy)
        owner = who if what == "dup" else "ba"["ab".index(who)]
        self.files.setdefault((owner, kind), []).append(copy)

    def _isod(self) -> None:
        device = self.chance.choice(self.devices)
        what = self.chance.choices(
            ("probe", "fence", "bind", "unbind", "restore", "reset"), (5, 6, 4, 1, 2, 2)
        )[0]
        if what == "probe":
            self._write("isod", what, device, self.chance.choice(_PROBES))
        elif what == "restore":
            drivers = ["none", "pci-stub", *self._native(device)]
            choice = self.chance.choices(drivers, (6, 4, 1)[: len(drivers)])[0]
            self._write("isod", what, device, choice)
        else:
            self._write("isod", what, device)

    def _root(self) -> None:
        device = self.chance.choice(self.devices)
        what = self.chance.choice(("override", "release", "probe"))
        if what == "override":
            drivers = ["none", VFIO_PCI, "pci-stub", *self._native(device)]
            self._write("root", what, device, self.chance.choice(drivers))
        else:
            self._write("root", what, device)

    def _native(self, device: str) -> list[str]:
        return [self.native[device]] if device in self.native else []

    # --- words ------------------------------------------------------------------------------------

    def _write(self, who: str, what: str, *on: str) -> None:
        self.written.append(Operation(who, what, on))

    def _maybe(self, who: str, what: str, *on: str) -> None:
        if self.chance.random() > _LEFT_OUT:
            self._write(who, what, *on)

    def _opened(self, who: str, kind: str, what: str, *on: str) -> str:
        name = self._named(kind[0])
        self._write(who, what, name, *on)
        self.files.setdefault((who, kind), []).append(name)
        return name

    def _named(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def _some(self, who: str, kind: str) -> str | None:
        names = self.files.get((who, kind))
        return self.chance.choice(names) if names else None

    def _some_space(self, who: str) -> str | None:
        names = self.spaces.get(who)
        return self.chance.choice(names) if names else None
