"""Network cards that the host needs: below a default route, or with an interface out of sight.

Read below ``/sys/class/net/NAME`` (Documentation/ABI/testing/sysfs-class-net): ``ifindex``,
``flags``, the links ``lower_*`` of whatever sits on other interfaces (bridge, bond, team, VLAN,
macvlan, ipvlan), the folders ``bridge`` and ``bonding``. sysfs shows the interfaces of one network
namespace; the folder ``net`` of a device stays while an interface of it is in another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from isod.model.critical import Kind

from .critical_finding import Findings, bound_to_host, entries, pci_above, real_path
from .critical_routes import Routes

NETWORK = "02"
_UP = 0x1
_VIRTUAL = "/sys/devices/virtual/"


class Interfaces:
    """The network interfaces of this namespace. Raises OSError where they cannot be read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._directory = root / "sys/class/net"
        self.names = tuple(n for n in entries(self._directory) if (self._directory / n).is_dir())
        self._by_index = {index: n for n in self.names if (index := self._index(n)) is not None}

    def named(self, index: int) -> str | None:
        return self._by_index.get(index)

    def _index(self, name: str) -> int | None:
        text = self._text(name, "ifindex")
        return int(text) if text.isdecimal() else None

    def _text(self, name: str, attribute: str) -> str:
        try:
            return (self._directory / name / attribute).read_text().strip()
        except FileNotFoundError:
            return ""  # it went meanwhile

    def card(self, name: str) -> str | None:
        """The PCI device that makes the interface; a USB card's is its host controller."""
        path = real_path(self._directory / name)
        return None if path is None else pci_above(path)

    def is_up(self, name: str) -> bool:
        text = self._text(name, "flags")
        return bool(int(text, 16) & _UP) if text else False

    def below(self, name: str) -> tuple[set[str], set[str]]:
        """The cards under an interface, and the interfaces under which nothing can be seen."""
        cards: set[str] = set()
        blind: set[str] = set()
        seen: set[str] = set()
        ahead = [name]
        while ahead:
            at = ahead.pop()
            if at in seen:
                continue
            seen.add(at)
            card = self.card(at)
            lower = self._lower(at)
            ahead += lower
            if card is not None:
                cards.add(card)
            elif not lower and self._may_tunnel(at):
                blind.add(at)
        return cards, blind

    def _lower(self, name: str) -> list[str]:
        place = self._directory / name
        links = [place / entry for entry in entries(place) if entry.startswith("lower_")]
        # By where it leads: a link keeps its name for a moment while the interface is renamed.
        return [link.readlink().name for link in links]

    def _may_tunnel(self, name: str) -> bool:
        """Whether packets may go on from here over another interface that sysfs does not tell:
        tunnels, Open vSwitch, a macvlan whose card is in another namespace. A bridge or a bond
        without members leads nowhere, and so does ``lo``."""
        path = real_path(self._directory / name)
        if name == "lo" or path is None or _VIRTUAL not in path:
            return False
        return not any((Path(path) / kind).is_dir() for kind in ("bridge", "bonding"))


def read_network(findings: Findings, routes: Routes) -> None:
    """Note the cards that default routes lead over, and those that cannot be seen into."""
    try:
        interfaces = Interfaces(findings.root)
        _default_routes(findings, interfaces, routes.default())
    except (OSError, ValueError) as error:
        findings.suspect(f"may carry the default route (the routes: {error})", NETWORK)
    _hidden(findings)


def _default_routes(findings: Findings, interfaces: Interfaces, indices: Iterable[int]) -> None:
    for index in sorted(indices):
        name = interfaces.named(index)
        if name is None:
            findings.suspect("may carry a default route over an unknown interface", NETWORK)
        else:
            note_path(findings, interfaces, name, "default route", "the default route")


def note_path(findings: Findings, interfaces: Interfaces, name: str, kind: Kind, what: str) -> None:
    """Note every card that what goes over the interface ``name`` passes, or may pass."""
    cards, blind = interfaces.below(name)
    for card in sorted(cards):
        findings.add(card, kind, f"carries {what} ({_way(interfaces, name, card)})")
    for tunnel in sorted(blind):
        for other in interfaces.names:
            below = interfaces.card(other)
            if below is not None and interfaces.is_up(other):
                findings.add(below, kind, f"may carry {tunnel}, and so {what} ({other})")


def _way(interfaces: Interfaces, name: str, card: str) -> str:
    """``eth0``, or ``br0 over eth0``."""
    own = [one for one in interfaces.names if interfaces.card(one) == card]
    if name in own:
        return name
    passed = [one for one in own if card in interfaces.below(one)[0]]
    return f"{name} over {', '.join(passed)}" if passed else name


def _hidden(findings: Findings) -> None:
    """Network functions that a driver has and whose interface is not to be seen."""
    root = findings.root
    for device in findings.of_class(NETWORK):
        name = device.address.name
        try:
            driver = bound_to_host(root, name)
            if driver is None:
                continue
            place = root / "sys/bus/pci/devices" / name
            folders = [place / "net", *place.glob("virtio*/net")]
            if any(entries(folder) for folder in folders):
                continue
            if any(folder.is_dir() for folder in folders):
                words = "has its network interface in another namespace"
            else:
                words = f"is run by {driver} without a network interface that isod sees"
            findings.add(name, "another namespace", words)
        except OSError as error:
            findings.add(name, "unknown", f"may be in use by the host ({error.strerror})")
