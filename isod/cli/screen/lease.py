"""Leases: the list, and the answer to acquire and release."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from isod.cli.handed import HandedFiles
from isod.model.reply import LeasedDevice, LeaseInfo

from .terminal import escape
from .words import age, clock, comma_list, short_list, user_name

_WHY = {"sibling": "comes along: it shares the group", "reset_set": "comes along: shared reset"}


def leases_screen(leases: Sequence[LeaseInfo], now: float) -> RenderableType:
    """A line for each lease."""
    if not leases:
        return Text("No leases.")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    table.add_column("LEASE", no_wrap=True)
    table.add_column("STATE", no_wrap=True)
    table.add_column("AGE", justify="right", no_wrap=True)
    table.add_column("OWNER", overflow="fold", max_width=20)
    table.add_column("RULE", overflow="fold", max_width=24)
    table.add_column("AS", no_wrap=True)
    table.add_column("DEVICES", overflow="fold", ratio=1)
    for lease in leases:
        cells = (
            lease.id,
            lease.state,
            age(lease.granted_at, now),
            f"{user_name(lease.owner.user, lease.owner.uid)} ({lease.owner.pid})",
            lease.rule,
            lease.hand_over,
            _devices(lease),
        )
        table.add_row(*(Text(escape(cell)) for cell in cells))
    return table


def _devices(lease: LeaseInfo) -> str:
    text = comma_list(device.address for device in lease.devices if not device.parked)
    parked = [device.address for device in lease.devices if device.parked]
    if parked:
        text += f" (parked: {comma_list(parked)})"
    for device in lease.devices:
        if device.held_outside is not None:
            text += f"; {device.address.short} is on {device.held_outside}"
    if lease.leaving is not None:
        text += f", to be closed until {clock(lease.leaving)}"
    if lease.revocation is not None and lease.state == "leased":
        text += f"; asked to let go until {clock(lease.revocation.deadline)}"
    if lease.conflict is not None:
        text += f"; {lease.conflict}"
    if lease.open:
        text += f"; still open: {short_list(lease.open)}"
    if lease.waiting is not None:
        text += f"; waits: {lease.waiting}"
    return text


def acquired_screen(
    lease: LeaseInfo, files: HandedFiles, warnings: Sequence[str]
) -> RenderableType:
    """What was granted: devices, what else came along, the secret, and the fds by number."""
    head = Text()
    head.append(f"Lease {escape(lease.id)}", style="bold")
    head.append(f"  by rule {escape(lease.rule)}, handed over as {lease.hand_over}")
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for device in lease.devices:
        cells = (f"  {escape(device.address)}", f"group {device.group}", _role(device))
        table.add_row(*(Text(cell) for cell in cells))
    lines: list[RenderableType] = [head, table]
    if lease.secret is not None:
        lines.append(Text(f"  secret  {escape(lease.secret)}"))
    lines.append(Text(f"  files   {_files(files)}"))
    lines += [Text(f"  warning {escape(warning)}", style="yellow") for warning in warnings]
    return Stack(*lines)


def _role(device: LeasedDevice) -> str:
    words = ["requested" if device.why == "requested" else _WHY[device.why]]
    if device.pool is not None:
        words.append(f"out of pool {escape(device.pool)}")
    if device.parked:
        words.append("parked, without a file")
    if device.cdev is not None:
        words.append(escape(device.cdev))
    return ", ".join(words)


def _files(files: HandedFiles) -> str:
    """``hold 5, iommufd 6, device 01:00.0 7``."""
    words = [
        f"{name} {number}"
        for name, number in (
            ("hold", files.hold),
            ("iommufd", files.iommufd),
            ("container", files.container),
        )
        if number is not None
    ]
    words += [f"group {group} {number}" for group, number in files.groups.items()]
    words += [f"device {escape(a.short)} {number}" for a, number in files.devices.items()]
    return ", ".join(words) or "none"


def kept_screen(lease: LeaseInfo) -> Text:
    """What a lease without a hold lives as long as."""
    until = "your cgroup is empty" if lease.anchor == "cgroup" else "it is released"
    return Text(f"Lease {escape(lease.id)} stays until {until}.", style="dim")


def released_screen(lease: LeaseInfo) -> RenderableType:
    """What a release led to: gone, or what it still waits for."""
    if lease.open:
        return Text(
            f"Lease {escape(lease.id)} is {lease.state}: waits until {short_list(lease.open)} "
            "is closed by whoever has it open."
        )
    return Text(f"Lease {escape(lease.id)} is {lease.state}; its devices are being put back.")
