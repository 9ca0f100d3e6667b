"""Network cards that carry disks: to the servers of NFS, iSCSI and NVMe over TCP.

From mountinfo's options (``addr=`` of nfs and cifs), ``/sys/class/iscsi_connection/*/address``
and ``persistent_address`` (drivers/scsi/scsi_transport_iscsi.c), ``/sys/class/nvme/*/transport``
and ``address`` (``traddr=…``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path

from .critical_finding import Findings, entries
from .critical_mounts import Mount
from .critical_network import NETWORK, Interfaces, note_path
from .critical_routes import Routes

_NETWORK_KINDS = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph"})


def read_servers(findings: Findings, routes: Routes, mounted: Iterable[Mount]) -> None:
    """Note the cards on the way to each server. Raises OSError, ValueError."""
    wanted = {*_mounted_from(mounted), *_iscsi(findings.root), *_nvme(findings.root)}
    if not wanted:
        return
    interfaces = Interfaces(findings.root)
    for server, what in sorted(wanted):
        index = routes.towards(server) if _is_address(server) else None
        name = None if index is None else interfaces.named(index)
        if name is None:
            findings.suspect(f"may carry {what} (the way there was not found)", NETWORK)
        else:
            note_path(findings, interfaces, name, "network disk", what)


def _mounted_from(mounted: Iterable[Mount]) -> Iterator[tuple[str, str]]:
    for mount in mounted:
        if mount.kind in _NETWORK_KINDS:
            options = dict(part.partition("=")[::2] for part in mount.options.split(","))
            server = options.get("addr", "")
            place = "".join(c if c.isprintable() else "?" for c in mount.place[:60])
            what = "the root" if place == "/" else place
            yield server, f"{what} of {mount.kind.rstrip('4').upper()}"


def _iscsi(root: Path) -> Iterator[tuple[str, str]]:
    top = root / "sys/class/iscsi_connection"
    for name in entries(top):
        server = _text(top / name / "address") or _text(top / name / "persistent_address")
        yield server, f"iSCSI {name}"


def _nvme(root: Path) -> Iterator[tuple[str, str]]:
    top = root / "sys/class/nvme"
    for name in entries(top):
        if _text(top / name / "transport") in ("tcp", "rdma"):
            parts = dict(p.partition("=")[::2] for p in _text(top / name / "address").split(","))
            yield parts.get("traddr", ""), f"{name}, an NVMe disk of the network"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except OSError:
        return ""
    return "" if text in ("(null)", "<NULL>") else text
