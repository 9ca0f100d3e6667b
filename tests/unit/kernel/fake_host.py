"""Network interfaces, block devices and mounts as a kernel shows them, in a directory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from isod.kernel.linux.critical import read_critical
from isod.kernel.scan import scan_host
from isod.model.address import Address
from isod.model.critical import CriticalFacts
from isod.model.host import Features

from .fake_sysfs import add_device, link


@dataclass
class FixedRoutes:
    """Routes that lead where the test says. ``broken``: the kernel does not answer."""

    over: frozenset[int] = frozenset()
    servers: dict[str, int] = field(default_factory=dict)
    broken: bool = False

    def default(self) -> frozenset[int]:
        if self.broken:
            raise OSError(16, "Device or resource busy")
        return self.over

    def towards(self, server: str) -> int | None:
        return self.servers.get(server)


class FakeHost:
    """A directory that stands for / of a host. ``routes`` may be changed between looks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.routes = FixedRoutes()
        self._indices: dict[str, int] = {}
        self._mounts: list[str] = []
        self._numbers = 0
        for place in ("proc/self", "sys/class/net", "sys/class/block", "sys/dev/block"):
            (root / place).mkdir(parents=True)
        self._write_mounts()

    # --- what there is --------------------------------------------------------------------------

    def card(
        self,
        name: str,
        *,
        driver: str | None = "e1000e",
        code: str = "0x020000",
        boot_vga: str | None = None,
    ) -> Path:
        """A PCI device of that class, a network card unless told otherwise."""
        place = add_device(self.root, f"0000:{name}", driver=driver)
        (place / "class").write_text(f"{code}\n")
        if boot_vga is not None:
            (place / "boot_vga").write_text(f"{boot_vga}\n")
        return place

    def disk(self, card: str, name: str, *parts: str, above: str = "nvme/nvme0") -> None:
        """An NVMe disk with partitions."""
        controller = self.card(card, driver="nvme", code="0x010802")
        self.block(controller / above / name)
        for part in parts:
            self.block(controller / above / name / part)

    def block(self, place: Path, *of: str) -> str:
        """A block device at its place below /sys/devices, built of others. Returns its numbers."""
        self._numbers += 1
        numbers = f"259:{self._numbers}"
        place.mkdir(parents=True)
        (place / "dev").write_text(f"{numbers}\n")
        link(self.root / "sys/class/block" / place.name, place)
        link(self.root / "sys/dev/block" / numbers, place)
        if of:
            (place / "slaves").mkdir()
            for part in of:
                target = (self.root / "sys/class/block" / part).resolve()
                link(place / "slaves" / part, target)
        return numbers

    def built(self, name: str, *of: str, uuid: str | None = None, called: str = "") -> None:
        """A device mapper's device, or an MD array."""
        place = self.root / "sys/devices/virtual/block" / name
        self.block(place, *of)
        if uuid is None:
            (place / "md").mkdir()
        else:
            (place / "dm").mkdir()
            (place / "dm/uuid").write_text(f"{uuid}\n")
            (place / "dm/name").write_text(f"{called}\n")

    def interface(self, name: str, card: Path | None = None, *lower: str, kind: str = "") -> int:
        """A network interface of a card, or a virtual one on top of others."""
        index = self._indices[name] = len(self._indices) + 1
        above = self.root / "sys/devices/virtual/net" if card is None else card / "net"
        place = above / name
        place.mkdir(parents=True)
        (place / "ifindex").write_text(f"{index}\n")
        (place / "flags").write_text("0x1003\n")
        if kind:
            (place / kind).mkdir()
        for other in lower:
            link(place / f"lower_{other}", (self.root / "sys/class/net" / other).resolve())
        link(self.root / "sys/class/net" / name, place)
        return index

    def mount(self, source: str, place: str, kind: str = "ext4", options: str = "rw") -> None:
        """``source`` is a block device's name, or anything where there is none."""
        at = self.root / "sys/class/block" / source / "dev"
        numbers = at.read_text().strip() if at.exists() else f"0:{len(self._mounts) + 40}"
        called = f"/dev/{source}" if at.exists() else source
        line = f"36 35 {numbers} / {place} rw,noatime master:1 - {kind} {called} {options}"
        self._mounts.append(line)
        self._write_mounts()

    def _write_mounts(self) -> None:
        text = "".join(f"{line}\n" for line in self._mounts)
        (self.root / "proc/self/mountinfo").write_text(text)

    def write(self, path: str, text: str = "") -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def route_over(self, *names: str) -> None:
        self.routes.over = frozenset(self._indices[name] for name in names)

    def server(self, address: str, over: str) -> None:
        self.routes.servers[address] = self._indices[over]

    # --- what isod sees -------------------------------------------------------------------------

    def facts(self) -> CriticalFacts:
        devices = tuple(scan_host(self.root, 1, Features()).devices.values())
        return read_critical(self.root, devices, self.routes)

    def uses(self, name: str) -> list[str]:
        return [use.words for use in self.facts().uses_of(Address.pci(f"0000:{name}"))]
