"""``isoctl ls``: IOMMU groups with their members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from isod.cli.pci_names import PciNames, what
from isod.model.reply import DeviceInfo, GroupInfo, NeedsRead

from .terminal import escape
from .words import state_words

_STATE_STYLES: tuple[tuple[str, str], ...] = (
    ("free", "green"),
    ("leased", "yellow"),
    ("parked", "dim"),
    ("used", "dim"),
    ("bridge", "dim"),
    ("host", "dim"),
    ("held", "bold yellow"),
    ("quarantined", "bold red"),
    ("no IOMMU", "bold red"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One device's line. ``group`` is empty below the group's first member."""

    group: str
    device: str
    what: str
    driver: str
    reset: str
    state: str


def listing_rows(
    devices: Sequence[DeviceInfo],
    groups: Iterable[GroupInfo],
    names: PciNames,
    now: float,
    *,
    bridges: bool = False,
) -> list[Row]:
    """The lines of ``ls``: by group, then by address; devices without a group last.

    Bridges belong to their groups, but nobody can have them: shown on demand.
    """
    known = {group.number: group for group in groups}
    by_group: dict[int | None, list[DeviceInfo]] = {}
    for device in sorted(devices, key=lambda one: one.address):
        if bridges or not is_bridge(device):
            by_group.setdefault(device.group, []).append(device)
    rows: list[Row] = []
    for number in sorted(number for number in by_group if number is not None):
        rows += _members(str(number), by_group[number], known, names, now)
    for device in by_group.get(None, []):
        rows += _members("-", [device], known, names, now)
    return rows


def is_bridge(device: DeviceInfo) -> bool:
    """Bridges of any kind: between PCI buses, but also to the processor and to the chipset."""
    return device.bridge or device.device_class.startswith("06")


def _members(
    label: str,
    members: Sequence[DeviceInfo],
    groups: Mapping[int, GroupInfo],
    names: PciNames,
    now: float,
) -> Iterable[Row]:
    for place, device in enumerate(members):
        first, last = place == 0, place == len(members) - 1
        name = device.address.name
        group = None if device.group is None else groups.get(device.group)
        yield Row(
            group=label if first else "",
            device=escape(device.address if first else f"{'└' if last else '├'} {name}"),
            what=escape(what(device, names)),
            driver=escape(device.driver or "-"),
            reset=device.reset,
            state="bridge" if is_bridge(device) else state_words(device, group, now),
        )


def needs_words(needs: NeedsRead | None, devices: Iterable[DeviceInfo]) -> str | None:
    """How old it is what the host needs, where that is shown and not of this very moment; and what
    kept it from being read."""
    if needs is None:
        return None
    if needs.unread is not None:
        return (
            f"(what the host needs could not be read: {escape(needs.unread)}; "
            "until it can, nothing is granted)"
        )
    shown = any(device.needed and not is_bridge(device) for device in devices)
    if not shown or needs.age < 1:
        return None
    return f"(what the host needs: as of {needs.age:.0f} s ago)"


def listing_screen(
    rows: Sequence[Row], *, hidden: int = 0, note: str | None = None
) -> RenderableType:
    """Lay the lines out as a table. ``hidden`` counts the bridges that were left out; ``note``
    goes below."""
    if not rows:
        return Text("No devices that could be handed out.")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    table.add_column("GROUP", justify="right", no_wrap=True)
    table.add_column("DEVICE", overflow="fold", min_width=16)
    table.add_column("WHAT", no_wrap=True, overflow="ellipsis", ratio=1, min_width=14)
    table.add_column("DRIVER", no_wrap=True, overflow="ellipsis", max_width=16)
    table.add_column("RESET", no_wrap=True)
    table.add_column("STATE", overflow="fold", max_width=30)
    for row in rows:
        state = Text(row.state, style=_style(row.state))
        cells = (row.group, row.device, row.what, row.driver, row.reset)
        table.add_row(*(Text(cell) for cell in cells), state)
    notes = [] if note is None else [note]
    if hidden:
        plural = "s" if hidden > 1 else ""
        notes.append(f"({hidden} bridge{plural} not shown; --all shows them)")
    return Stack(table, *(Text(one, style="dim") for one in notes))


def _style(state: str) -> str:
    for beginning, style in _STATE_STYLES:
        if state.startswith(beginning):
            return style
    return ""
