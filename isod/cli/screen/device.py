"""``isoctl show``: one device in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from isod.cli.pci_names import PciNames, what
from isod.model.address import Address
from isod.model.isolation import IsolationInfo
from isod.model.reply import DeviceInfo, GroupInfo, JoinedGroups
from isod.model.reset import ResetSetInfo

from .isolation import companion_words, isolation_words, peer_words
from .reset import reset_words
from .terminal import escape
from .words import short_list, state_words


def device_screen(
    device: DeviceInfo,
    group: GroupInfo | None,
    devices: Mapping[Address, DeviceInfo],
    names: PciNames,
    now: float,
    reset: ResetSetInfo | None = None,
    isolation: IsolationInfo | None = None,
) -> RenderableType:
    """Tell where a device sits, with whom it shares its fate, and who has it."""
    head = Text()
    head.append(escape(device.address), style="bold")
    head.append(f"  {escape(what(device, names))}      {_place(device)}")
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for label, words in device_facts(device, group, devices, now, reset, isolation):
        facts.add_row(Text(f"  {label}"), Text(words))
    return Stack(head, facts)


def device_facts(
    device: DeviceInfo,
    group: GroupInfo | None,
    devices: Mapping[Address, DeviceInfo],
    now: float,
    reset: ResetSetInfo | None = None,
    isolation: IsolationInfo | None = None,
) -> Iterable[tuple[str, str]]:
    """The lines below the headline: label and sentence."""
    yield "State", state_words(device, group, now)
    if device.quarantine is not None:
        yield "Quarantine", escape(device.quarantine)
    yield "Driver", _driver(device)
    yield "Shares its group with", _companions(device, group, devices, isolation)
    if isolation is not None:
        yield "Isolation", isolation_words(isolation)
    if group is not None and group.isolation is not None:
        yield "Joined with", _joined(group.number, group.isolation)
    if group is not None and group.firmware_mapping:
        yield "Firmware", "wants memory mapped 1:1 for this group; the kernel will not hand it out"
    yield "Reset", reset_words(device, reset)
    peers = None if isolation is None else peer_words(isolation)
    if peers is not None:
        yield "Peer to peer", peers
    if device.physical_function is not None:
        yield "Virtual function", f"of {escape(device.physical_function.short)}"
    if device.virtual_functions:
        yield "Virtual functions", short_list(device.virtual_functions)
    if device.slot is not None:
        yield "Slot", escape(device.slot)


def _joined(own: int, isolation: JoinedGroups) -> str:
    others = [str(number) for number in isolation.groups if number != own]
    plural = "s" * (len(others) > 1)
    by = escape(", ".join(isolation.quirks))
    return f"group{plural} {', '.join(others)}, by quirk {by} of the policy: they go together"


def _place(device: DeviceInfo) -> str:
    words = ["no IOMMU group" if device.group is None else f"group {device.group}"]
    if device.bridges:
        words.append(f"behind bridge {escape(device.bridges[0].name)}")
    if device.numa_node is not None:
        words.append(f"NUMA {device.numa_node}")
    return ", ".join(words)


def _driver(device: DeviceInfo) -> str:
    driver = escape(device.driver) if device.driver else "none"
    return f"{driver} (as {escape(device.cdev)})" if device.cdev else driver


def _companions(
    device: DeviceInfo,
    group: GroupInfo | None,
    devices: Mapping[Address, DeviceInfo],
    isolation: IsolationInfo | None,
) -> str:
    """The rest of the group, each with what ties it to the device, and with what keeps the group
    from being owned, if it does."""
    if group is None:
        return "nothing: without an IOMMU it can reach all memory (UNSAFE)"
    ties = {} if isolation is None else {one.address: one for one in isolation.companions}
    words = []
    for address in group.devices:
        if address == device.address:
            continue
        other, tie = devices.get(address), ties.get(address)
        name = escape(address.short)
        if other is not None and other.bridge:
            words.append(f"bridge {name}")
            continue
        notes = []
        if isolation is not None and tie is not None:
            notes.append(companion_words(tie, isolation))
        if address in group.blocked_by and other is not None and other.driver is not None:
            notes.append(f"used by {escape(other.driver)}")
        words.append(f"{name} ({'; '.join(notes)})" if notes else name)
    return ", ".join(words) if words else "nothing: it is alone in its group"
