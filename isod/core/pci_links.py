"""What ties PCI functions together: shared requester ids, ports that do not redirect, functions.

The kernel's rules for IOMMU groups (drivers/iommu/iommu.c, pci_device_group; drivers/pci/search.c,
pci_for_each_dma_alias; drivers/pci/pci.c, pci_acs_path_enabled; the same in 6.12 and 7.2), put as
links between two functions each: whatever is linked is one group. The kernel looks for a group
that is there already, so it depends on the order in which devices were found; links do not, and
parents are found first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from isod.model.address import Address
from isod.model.host import Device, HostSnapshot
from isod.model.isolation import Known
from isod.model.survey import PortType

from .acs import Passage, is_multifunction, judge

# Functions whose requests bear the id of another function of their device, by vendor and product
# (drivers/pci/quirks.c, quirk_dma_func0_alias and quirk_dma_func1_alias, 7.2).
_ALIASED_FUNCTION = {
    **dict.fromkeys((("1180", "e832"), ("1180", "e476"), ("6766", "3d40"), ("6766", "3d41")), 0),
    **{("1b4b", f"91{low}"): 1 for low in ("20", "23", "25", "28", "30", "70", "72", "7a", "82")},
    **{("1b4b", name): 1 for name in ("9183", "91a0", "9215", "9220", "9230", "9235")},
    **dict.fromkeys((("1103", "0642"), ("1103", "0645"), ("197b", "2392"), ("1c28", "0122")), 1),
}
# Passes requester ids on unchanged (quirk_aspeed_pci_bridge_no_alias); older kernels do not know.
_MAYBE_NO_ALIAS = ("1a03", "1150")
_ALIASING = frozenset({PortType.pci_bridge, PortType.pcie_bridge})

LinkKind = Literal["granule", "functions", "port"]


@dataclass(frozen=True, slots=True)
class Link:
    """Two functions that go together because of ``by``. ``certain`` is false where config space,
    unread, might say so."""

    one: Address
    other: Address
    kind: LinkKind
    by: Address
    certain: bool


class PciTree:
    """The PCI devices of one snapshot by their places, with what was read of them."""

    def __init__(self, snapshot: HostSnapshot, devices: Iterable[Device] | None = None) -> None:
        self.snapshot = snapshot
        chosen = snapshot.devices.values() if devices is None else devices
        self.devices = {d.address: d for d in chosen if d.address.bus == "pci"}
        self._slots: dict[str, list[Device]] = {}
        for device in self.devices.values():
            self._slots.setdefault(device.address.pci_slot, []).append(device)
        self._passages: dict[Address, Passage] = {}

    def slot_mates(self, device: Device) -> Iterator[Device]:
        """The other functions of the same device."""
        for other in self._slots[device.address.pci_slot]:
            if other is not device:
                yield other

    def passage(self, address: Address) -> Passage:
        """Whether a function redirects requests; unknown for one that is not in the snapshot."""
        found = self._passages.get(address)
        if found is None:
            found = self._passages[address] = self._judge(address)
        return found

    def way(self, device: Device) -> tuple[Passage, ...]:
        """The device and the bridges above it, in the order in which a request passes them."""
        return tuple(self.passage(address) for address in (device.address, *device.bridges))

    def controller(self, device: Device) -> Address | None:
        """The controller with a PCI domain of its own that the device is below, if it is: its
        requests bear that one's id (Intel VMD; pci_real_dma_dev)."""
        domain = device.address.name.partition(":")[0]
        others = (b for b in device.bridges if b.name.partition(":")[0] != domain)
        return next(others, None)

    def lends_its_id(self, bridge: Address) -> Known:
        """Whether requests from below a bridge bear a requester id of the bridge's."""
        device, passage = self.devices.get(bridge), self.passage(bridge)
        if device is None or not passage.read:
            return "unknown"
        if (device.vendor, device.product) == _MAYBE_NO_ALIAS:
            return "unknown"
        if passage.port is PortType.reserved:
            return "unknown"
        return "yes" if passage.port is None or passage.port in _ALIASING else "no"

    def path(self, way: Iterable[Passage]) -> tuple[Known, Address | None]:
        """Whether all of a way redirects; if not, which function is the first that does not."""
        verdict: Known = "yes"
        for passage in way:
            if passage.redirects == "no":
                return "no", passage.address
            if passage.redirects == "unknown":
                verdict = "unknown"
        return verdict, None

    def _judge(self, address: Address) -> Passage:
        device = self.devices.get(address)
        if device is None:
            return Passage(address, "unknown", "cannot be seen")
        facts = self.snapshot.surveyed(address)
        port = self._port(device)
        return judge(device, facts, port, on_root_bus=not device.bridges)

    def _port(self, device: Device) -> PortType | None:
        """The kind of port. One that cannot be where it is, is the other kind of a switch's ports
        (drivers/pci/probe.c, set_pcie_port_type)."""
        facts = self.snapshot.surveyed(device.address)
        if facts is None or facts.express is None:
            return None
        port = facts.express.port
        above = self.snapshot.surveyed(device.bridges[0]) if device.bridges else None
        parent = None if above is None or above.express is None else above.express.port
        if port is PortType.downstream_port and parent in (
            PortType.root_port,
            PortType.downstream_port,
        ):
            return PortType.upstream_port
        if port is PortType.upstream_port and parent is PortType.upstream_port:
            return PortType.downstream_port
        return port


def links(tree: PciTree) -> Iterator[Link]:
    """All links between the functions of a tree."""
    for device in tree.devices.values():
        yield from _by_requester_id(tree, device)
        yield from _by_port(tree, device)
        yield from _by_functions(tree, device)


def _by_requester_id(tree: PciTree, device: Device) -> Iterator[Link]:
    controller = tree.controller(device)
    if controller is not None:
        yield Link(device.address, controller, "granule", controller, certain=True)
        return
    aliased = _ALIASED_FUNCTION.get((device.vendor, device.product))
    for mate in tree.slot_mates(device) if aliased is not None else ():
        if mate.address.name.endswith(f".{aliased}"):
            yield Link(device.address, mate.address, "granule", mate.address, certain=True)
    for bridge in device.bridges:
        lends = tree.lends_its_id(bridge)
        if lends != "no":
            yield Link(device.address, bridge, "granule", bridge, certain=lends == "yes")
        if lends == "yes":
            return


def _by_port(tree: PciTree, device: Device) -> Iterator[Link]:
    """A function goes with the bridge above it unless everything from there up redirects."""
    if not device.bridges or tree.controller(device) is not None:
        return
    verdict, by = tree.path(tree.passage(bridge) for bridge in device.bridges)
    if verdict != "yes":
        above = device.bridges[0]
        yield Link(device.address, above, "port", by or above, certain=verdict == "no")


def _by_functions(tree: PciTree, device: Device) -> Iterator[Link]:
    """Functions of one device that do not redirect between themselves."""
    own = tree.passage(device.address).redirects
    facts = tree.snapshot.surveyed(device.address)
    if own == "yes" or device.is_virtual_function:
        return
    if facts is not None and facts.header_type is not None and not is_multifunction(device, facts):
        return
    for mate in tree.slot_mates(device):
        theirs = tree.passage(mate.address).redirects
        if theirs != "yes" and not mate.is_virtual_function:
            certain = own == theirs == "no"
            yield Link(device.address, mate.address, "functions", device.address, certain=certain)


class Hierarchies:
    """The devices of a snapshot by the slot on the root bus that they are in or below: no link
    goes beyond it. Building it looks at every device once."""

    def __init__(self, snapshot: HostSnapshot) -> None:
        self.snapshot = snapshot
        self._devices: dict[str, list[Device]] = {}
        for device in snapshot.devices.values():
            self._devices.setdefault(_top_slot(device), []).append(device)

    def around(self, device: Device) -> Sequence[Device]:
        """The devices of a device's hierarchy, itself included."""
        return self._devices.get(_top_slot(device), ())


def _top_slot(device: Device) -> str:
    return (device.bridges[-1] if device.bridges else device.address).pci_slot


def predicted_groups(snapshot: HostSnapshot) -> tuple[frozenset[Address], ...] | None:
    """Which devices share an IOMMU group, from config space and topology; None where too little
    of config space is known to tell. Only devices that have a group at all are in it."""
    tree = PciTree(snapshot)
    top: dict[Address, Address] = {a: a for a, d in tree.devices.items() if d.group is not None}

    def find(address: Address) -> Address:
        while top[address] != address:
            top[address] = top[top[address]]
            address = top[address]
        return address

    doubts = []
    for link in links(tree):
        if link.one not in top or link.other not in top:
            continue
        if link.certain:
            top[find(link.one)] = find(link.other)
        else:
            doubts.append(link)
    if any(find(link.one) != find(link.other) for link in doubts):
        return None
    groups: dict[Address, set[Address]] = {}
    for address in top:
        groups.setdefault(find(address), set()).add(address)
    return tuple(sorted((frozenset(found) for found in groups.values()), key=min))
