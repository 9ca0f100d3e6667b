"""What a host looks like: devices, IOMMU groups and the tree between them, as one frozen picture.

Every field states what sysfs shows; nothing here is a conclusion. ``None`` means that the kernel
does not say, which is never the same as "no".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .address import Address
from .survey import SurveyedFunction

VFIO_PCI = "vfio-pci"


def is_vfio_driver(driver: str) -> bool:
    """vfio-pci and its variants, which are named ``mlx5_vfio_pci``, ``hisi-acc-vfio-pci``, …"""
    return driver.replace("_", "-").endswith(VFIO_PCI)


@dataclass(frozen=True, slots=True)
class ReservedRegion:
    """A line of an IOMMU group's ``reserved_regions``: addresses inclusive, ``kind`` as printed."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device as sysfs shows it.

    ``generation`` is the inode of its sysfs directory: an address that was removed and added
    again is another device. ``device_class`` is the 24-bit class code in hex ("020000").
    ``bridges`` are the bridges above it, nearest first. ``slot`` is the name of the physical slot
    (``/sys/bus/pci/slots``). Of a port ``hotplug_driver`` is "pciehp" if that runs the slot on the
    bus below. ``cdev`` is the name under ``/dev/vfio/devices``. ``driver_override`` is None when
    unset (sysfs prints "(null)").
    ``parent`` is the device that an mdev was created on.
    ``unsettled`` says that the driver core holds the device's lock (an unbind that waits for a
    client, a slow probe): ``driver`` reads as None while an unbind is under way, since
    drivers/base/dd.c removes the link first, and before 7.x ``driver_override`` cannot be read at
    all then. Never plan on such a device; look again after its next event.
    """

    address: Address
    generation: int
    vendor: str = ""
    product: str = ""
    subsystem_vendor: str = ""
    subsystem_product: str = ""
    device_class: str = ""
    revision: str = ""
    driver: str | None = None
    driver_override: str | None = None
    modalias: str = ""
    group: int | None = None
    numa_node: int | None = None
    reset_methods: tuple[str, ...] = ()
    enabled: int | None = None
    slot: str | None = None
    hotplug_driver: str | None = None
    bridges: tuple[Address, ...] = ()
    secondary_bus: str | None = None
    header_type: int | None = None
    physical_function: Address | None = None
    parent: Address | None = None
    virtual_functions: tuple[Address, ...] = ()
    virtual_functions_max: int = 0
    cdev: str | None = None
    noiommu_node: str | None = None
    boot_display: bool = False
    serial: str | None = None
    unsettled: bool = False

    @property
    def is_bridge(self) -> bool:
        """A PCI bridge (header type 1, or class 0604 where config space was not readable)."""
        if self.header_type is not None:
            return self.header_type & 0x7F == 1
        return self.device_class.startswith("0604")

    @property
    def is_virtual_function(self) -> bool:
        return self.physical_function is not None

    @property
    def on_vfio(self) -> bool:
        """Bound to vfio-pci or to one of its variants."""
        return self.driver is not None and is_vfio_driver(self.driver)

    @property
    def resets_alone(self) -> bool:
        """Whether a function reset exists: any method but those of the bus.

        ``reset_method`` as of 5.15 (Documentation/ABI/testing/sysfs-bus-pci).
        """
        return any(method not in {"bus", "cxl_bus"} for method in self.reset_methods)


@dataclass(frozen=True, slots=True)
class Group:
    """An IOMMU group. ``kind`` is its default domain's type as sysfs prints it ("DMA",
    "identity", "unknown" for mdev and no-IOMMU). ``generation`` is the inode of its directory:
    the kernel recycles the numbers."""

    number: int
    generation: int
    members: tuple[Address, ...]
    kind: str = "DMA"
    reserved_regions: tuple[ReservedRegion, ...] = ()
    name: str | None = None

    @property
    def firmware_mappings(self) -> tuple[ReservedRegion, ...]:
        """Regions that firmware wants mapped 1:1 (type ``direct``): such a group cannot be
        claimed (drivers/iommu/iommu.c, ``iommu_group_claim_dma_owner``: EINVAL)."""
        return tuple(region for region in self.reserved_regions if region.kind == "direct")


@dataclass(frozen=True, slots=True)
class Features:
    """What the kernel offers: which hand-overs can work at all.

    ``container`` is False where ``/dev/vfio/vfio`` is missing, and also where IOMMUFD provides it:
    there group exclusivity is broken (a second opener can take a group whose device is open).
    """

    iommufd: bool = False
    cdev: bool = False
    container: bool = False
    noiommu: bool = False
    kernel: str = ""


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """One consistent picture of the host. ``sequence`` grows with every change. ``distances`` are
    those between NUMA nodes, in the firmware's measure (10: the same node); nodes of which the
    kernel says nothing are not in it. ``survey`` is what was found in config space at some time
    before; ask ``surveyed``. ``unread`` are devices and groups, by number, that are there and
    could not be read, with the reason: look at them again."""

    sequence: int = 0
    devices: Mapping[Address, Device] = field(default_factory=lambda: MappingProxyType({}))
    groups: Mapping[int, Group] = field(default_factory=lambda: MappingProxyType({}))
    features: Features = Features()
    distances: Mapping[int, Mapping[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    survey: Mapping[Address, SurveyedFunction] = field(default_factory=lambda: MappingProxyType({}))
    unread: Mapping[Address | int, str] = field(default_factory=lambda: MappingProxyType({}))

    def surveyed(self, address: Address) -> SurveyedFunction | None:
        """What config space says of the device that is there now; None: unknown, as it is of one
        that came after the survey."""
        device, facts = self.devices.get(address), self.survey.get(address)
        if device is None or facts is None or facts.generation != device.generation:
            return None
        return facts

    def group_of(self, address: Address) -> Group | None:
        device = self.devices.get(address)
        if device is None or device.group is None:
            return None
        return self.groups.get(device.group)

    def members(self, group: int) -> tuple[Device, ...]:
        """The devices of a group that are there, in the order of their addresses."""
        found = self.groups.get(group)
        if found is None:
            return ()
        return tuple(self.devices[name] for name in found.members if name in self.devices)


@dataclass(frozen=True, slots=True)
class HostChange:
    """What the kernel reported: the addresses to look at again, or everything (``rescan``)."""

    addresses: frozenset[Address] = frozenset()
    rescan: bool = False
    nodes: frozenset[str] = frozenset()
