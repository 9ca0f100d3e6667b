"""What is read of a host: sysfs, config space, and the survey's file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from isod.daemon.survey_file import SurveyError, read_survey, write_survey
from isod.kernel.config_space import parse_bytes
from isod.kernel.overrides import plain_reader
from isod.kernel.scan import scan_device
from isod.kernel.scan_group import scan_group
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import STANDARD
from isod.kernel.survey import survey_host
from isod.kernel.tree import UnreadableError
from isod.model.address import Address

from .target import Take, Target

# --- a device -----------------------------------------------------------------------------------

_DEVICE = "0000:01:00.0"
_ATTRIBUTES = (
    "vendor", "device", "subsystem_vendor", "subsystem_device", "class", "revision", "modalias",
    "numa_node", "reset_method", "enable", "driver_override", "config", "boot_vga",
    "sriov_totalvfs",
)  # fmt: skip


def _sysfs(folder: Path) -> Take:
    """One attribute of a device holds anything: it is read, or left out, and never half."""
    build(folder / "host", STANDARD)
    root = folder / "host"
    device = root / "sys/bus/pci/devices" / _DEVICE
    address = Address.pci(_DEVICE)
    before = {name: _content(device / name) for name in _ATTRIBUTES}

    def take(data: bytes) -> None:
        name = _ATTRIBUTES[data[0] % len(_ATTRIBUTES)] if data else _ATTRIBUTES[0]
        _put(device / name, data[1:])
        with suppress(UnreadableError):
            found = scan_device(root, address, plain_reader(root))
            assert found is not None
            assert found.address == address
            assert found.group is not None
        _put(device / name, before[name])

    return take


def _put(path: Path, content: bytes | None) -> None:
    """Not in place: a simulated host's files of one content are one file."""
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _sysfs_seeds(folder: Path) -> list[bytes]:
    values = (b"0x8086\n", b"0x020000\n", b"flr bus\n", b"-1\n", b"(null)\n", b"", b"\xff" * 64)
    return [bytes([number]) + value for number in range(len(_ATTRIBUTES)) for value in values]


# --- a group ------------------------------------------------------------------------------------

_GROUP_FILES = ("reserved_regions", "type", "name")


def _groups(folder: Path) -> Take:
    """A file of a group holds anything, or a member has any name: the group is read with all its
    members and regions, or not at all."""
    build(folder / "host", STANDARD)
    root = folder / "host"
    link = root / "sys/bus/pci/devices" / _DEVICE / "iommu_group"
    number = int(link.readlink().name)
    group = link.resolve()
    members = len(list((group / "devices").iterdir()))
    before = {name: _content(group / name) for name in _GROUP_FILES}

    def take(data: bytes) -> None:
        which, content = (data[0] % (len(_GROUP_FILES) + 1), data[1:]) if data else (0, b"")
        if which == len(_GROUP_FILES):
            take_member(content)
            return
        name = _GROUP_FILES[which]
        _put(group / name, content)
        with suppress(UnreadableError):
            found = scan_group(root, number)
            assert found is not None
            assert len(found.members) == members
            text = content[:4096].decode(errors="replace")
            if name == "reserved_regions":
                assert len(found.reserved_regions) == len(text.strip().splitlines())
        _put(group / name, before[name])

    def take_member(name: bytes) -> None:
        path = group / "devices" / os.fsdecode(name.partition(b"\0")[0].replace(b"/", b""))
        try:
            path.symlink_to("../../../../bus/platform/devices/x")
        except OSError:
            return  # the folder itself, one that is there, or one that is too long
        found = scan_group(root, number)
        assert found is not None
        assert len(found.members) == members + 1
        assert scan_device(root, Address.pci(_DEVICE), plain_reader(root)) is not None
        path.unlink()

    return take


def _group_seeds(_: Path) -> list[bytes]:
    regions = (
        b"0x00000000fee00000 0x00000000feefffff msi\n",
        b"0x0 0xffff direct\n0x00000000fee00000 0x00000000feefffff direct-relaxable\n",
    )
    others = (b"DMA\n", b"identity\n", b"vfio-noiommu\n", b"", b"\xff" * 64)
    names = (b"0000:0a:00.0", b"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", b"dwc3.1", b"\xff")
    members = [bytes([len(_GROUP_FILES)]) + name for name in names]
    files = [bytes([one]) + value for one in range(3) for value in (*regions, *others)]
    return [*files, *members]


# --- config space -------------------------------------------------------------------------------


def _config_space(_: Path) -> Take:
    def take(data: bytes) -> None:
        found = parse_bytes(data)
        # What lies past the end is unknown, and what is unknown is never there.
        if len(data) < 64:
            assert found.express is None
            assert found.acs is None

    return take


def _config_seeds(folder: Path) -> list[bytes]:
    build(folder / "seeds", STANDARD)
    devices = folder / "seeds" / "sys/bus/pci/devices"
    found = {path.read_bytes() for path in devices.glob("*/config")}
    return sorted(found | {b"\xff" * 4096, b"\0" * 4096, b"\xff" * 64})


# --- the survey's file --------------------------------------------------------------------------


def _survey(folder: Path) -> Take:
    build(folder / "host", STANDARD)
    file = write_survey(folder / "survey", survey_host(folder / "host"))

    def take(data: bytes) -> None:
        file.write_bytes(data)
        try:
            read_survey(file.parent)
        except SurveyError as error:
            assert str(error)

    return take


def _survey_seeds(folder: Path) -> list[bytes]:
    build(folder / "seeds", STANDARD)
    survey = survey_host(folder / "seeds")
    return [write_survey(folder / "written", survey).read_bytes(), b"{}", b'{"version": 1}']


TARGETS = {
    "sysfs": Target(_sysfs, _sysfs_seeds, 5000),
    "groups": Target(_groups, _group_seeds, 5000, runs=20_000),
    "config-space": Target(_config_space, _config_seeds, 4200),
    "survey": Target(_survey, _survey_seeds, 16384),
}
