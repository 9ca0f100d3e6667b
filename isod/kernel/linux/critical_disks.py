"""Disks that the host needs: behind a mount, swap, a volume, an array, btrfs or ZFS."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from isod.model.critical import Kind

from .critical_blocks import Blocks
from .critical_finding import Findings, entries
from .critical_mounts import Mount, btrfs_members, mounted_anywhere, swaps

STORAGE = ("01", "0805", "0c03")
"""Storage controllers, SD host controllers, and USB's, which have disks too."""

# Disk file systems whose mounts name no block device; btrfs and ZFS are looked up otherwise.
_SPREAD = frozenset({"bcachefs", "ubifs"})


def read_disks(findings: Findings, mounted: Iterable[Mount]) -> None:
    """Note every disk in use. Raises OSError, ValueError."""
    blocks = Blocks(findings.root)
    _mounts(findings, blocks, mounted)
    for path in swaps(findings.root):
        name = blocks.at(path)
        if name is None:
            findings.suspect(f"may hold swap ({path} was not found)", *STORAGE)
        else:
            _note(findings, blocks, name, "swap", "holds swap")
    for name in blocks.built():
        words = blocks.words(name)
        for device, part in blocks.ends(name):
            findings.add(device, "volume", f"holds {words} ({part})")
    _zfs(findings, blocks)


def _note(findings: Findings, blocks: Blocks, name: str, kind: Kind, what: str) -> None:
    for device, part in blocks.ends(name):
        built = f"{blocks.words(name)} on {part}" if part != name else name
        findings.add(device, kind, f"{what} ({built})")


def _mounts(findings: Findings, blocks: Blocks, mounted: Iterable[Mount]) -> None:
    seen: set[str] = set()
    for mount in mounted:
        for name in _devices(findings, blocks, mount):
            seen.add(name)
            _note(findings, blocks, name, "mounted disk", f"holds {_printable(mount.place)}")
    for member, label in btrfs_members(findings.root):
        if member not in seen:
            _note(findings, blocks, member, "mounted disk", f"holds btrfs {_printable(label)}")
    for member, kind in mounted_anywhere(findings.root):
        name = member.replace("!", "/") if member not in blocks else member
        if name in blocks and name not in seen:
            what = f"holds {kind} that is mounted in another namespace"
            _note(findings, blocks, name, "mounted disk", what)


def _devices(findings: Findings, blocks: Blocks, mount: Mount) -> list[str]:
    """The block devices that a mount names."""
    if mount.has_device:
        # None: the disk was pulled out from under the mount, and there is nothing to protect.
        name = blocks.numbered(mount.numbers)
        return [] if name is None else [name]
    if mount.kind != "btrfs" and mount.kind not in _SPREAD:
        return []
    found = [blocks.at(path) for path in mount.source.split(":") if path.startswith("/dev/")]
    if mount.kind in _SPREAD and (None in found or not found):
        words = f"may hold {_printable(mount.place)} ({mount.kind}, whose disks were not found)"
        findings.suspect(words, *STORAGE)
    return [name for name in found if name is not None]


def _zfs(findings: Findings, blocks: Blocks) -> None:
    """Members of imported pools. ZFS tells the pools (/proc/spl/kstat/zfs, a folder each) but not
    their disks; those udev knows by what it read at their beginning (ID_FS_TYPE in its data)."""
    pools = _pools(findings.root)
    if not pools:
        return
    for name in blocks.names:
        if blocks.parts(name):
            continue
        known = _udev(findings.root, name)
        if known is None:
            _note(findings, blocks, name, "unknown", f"may belong to ZFS {', '.join(pools)}")
        elif known.get("ID_FS_TYPE") == "zfs_member" and known.get("ID_FS_LABEL") in {None, *pools}:
            pool = known.get("ID_FS_LABEL", "")
            _note(findings, blocks, name, "volume", f"holds ZFS {_printable(pool)}".rstrip())


def _pools(root: Path) -> list[str]:
    top = root / "proc/spl/kstat/zfs"
    return [name for name in entries(top) if (top / name).is_dir()]


def _udev(root: Path, name: str) -> dict[str, str] | None:
    """What udev's database says of a block device; None when it has no entry (udev(7))."""
    try:
        numbers = (root / "sys/class/block" / name / "dev").read_text().strip()
        text = (root / "run/udev/data" / f"b{numbers}").read_text(errors="replace")
    except OSError:
        return None
    lines = (line[2:] for line in text.splitlines() if line.startswith("E:"))
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _printable(text: str) -> str:
    """Names of places may hold anything, and these words come to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:60])
