"""What is mounted, and what swaps: lines of /proc and folders of /sys/fs, taken apart.

proc_pid_mountinfo(5), proc_swaps(5). A daemon's unit may hide mounts from it (ProtectHome= takes
away what is mounted below /home), and containers have mounts of their own. So the list of process 1
is read beside our own, and so is /sys/fs, where ext4, xfs, f2fs and btrfs show what is mounted
anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .critical_finding import entries

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo. ``numbers`` is MAJOR:MINOR, 0:N for what has no block device of its
    own; ``options`` are the file system's own."""

    numbers: str
    place: str
    kind: str
    source: str
    options: str

    @property
    def has_device(self) -> bool:
        return not self.numbers.startswith("0:")


def mounts(root: Path) -> list[Mount]:
    """The mounts of this process and of process 1, each once. Raises OSError, ValueError."""
    lists = [root / "proc/self/mountinfo"]
    first = root / "proc/1/mountinfo"
    if first.exists():
        lists.append(first)
    lines: dict[str, None] = {}
    for path in lists:
        # Names of files are bytes to the kernel, in any encoding or in none.
        lines.update(dict.fromkeys(path.read_text(errors="surrogateescape").splitlines()))
    return list(dict.fromkeys(parse_mount(line) for line in lines))


def parse_mount(line: str) -> Mount:
    """``36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue``.

    Raises ValueError.
    """
    before, separator, after = line.partition(" - ")
    left, right = before.split(" "), after.split(" ")
    if not separator or len(left) < 6 or len(right) < 3:
        raise ValueError(f"not a line of mountinfo: {line[:80]!r}")
    return Mount(left[2], unescape(left[4]), right[0], unescape(right[1]), right[2])


def unescape(text: str) -> str:
    """Blanks, newlines and backslashes stand as octal numbers (fs/proc_namespace.c, mangle)."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def swaps(root: Path) -> list[str]:
    """The paths of swap areas that are no files. Raises OSError."""
    try:
        lines = (root / "proc/swaps").read_text(errors="surrogateescape").splitlines()[1:]
    except FileNotFoundError:
        return []  # a kernel without swap
    # A swap file keeps its file system mounted, and that is seen anyhow.
    return [unescape(line.split()[0]) for line in lines if line.split()[1:2] == ["partition"]]


def mounted_anywhere(root: Path) -> Iterator[tuple[str, str]]:
    """Names of block devices that a file system has in use, with its kind.

    ext4, xfs, f2fs and others make ``/sys/fs/KIND/BLOCK-DEVICE`` for as long as they are mounted,
    in whatever namespace; a name may hold ``!`` for a slash.
    """
    top = root / "sys/fs"
    for kind in entries(top):
        if kind not in ("btrfs", "cgroup"):
            yield from ((name, kind) for name in entries(top / kind))


def btrfs_members(root: Path) -> Iterator[tuple[str, str]]:
    """The block devices of every mounted btrfs, with its label or id
    (``/sys/fs/btrfs/UUID/devices``)."""
    top = root / "sys/fs/btrfs"
    for identity in entries(top):
        members = entries(top / identity / "devices")
        if members:
            try:
                label = (top / identity / "label").read_text().strip()
            except OSError:
                label = ""
            yield from ((member, label or identity) for member in members)
