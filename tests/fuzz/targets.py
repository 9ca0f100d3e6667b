"""What is fuzzed. A target takes any bytes, and raises what nothing but a fault of ours raises.

Each is made with a folder on tmpfs for what has to be a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from isod.daemon.survey_file import SurveyError, read_survey, write_survey
from isod.kernel.config_space import parse_bytes
from isod.kernel.linux.uevent import change_of, parse_uevent
from isod.kernel.overrides import plain_reader
from isod.kernel.scan import scan_device
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import STANDARD
from isod.kernel.survey import survey_host
from isod.model.address import Address
from isod.model.method import METHODS
from isod.model.request import PACKET_BYTES
from isod.policy.folder import PolicyError, load
from isod.wire import jsonrpc

Take = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Target:
    """``make`` prepares a folder; ``seeds`` are inputs of the ordinary kind to begin with."""

    make: Callable[[Path], Take]
    seeds: Callable[[Path], Sequence[bytes]]
    longest: int


# --- packets ------------------------------------------------------------------------------------


def _packets(_: Path) -> Take:
    def take(data: bytes) -> None:
        incoming = jsonrpc.read(data)
        for entry in incoming.entries:
            match entry:
                case jsonrpc.Invalid():
                    json.loads(entry.response)
                case jsonrpc.Request() | jsonrpc.Notification():
                    method = METHODS.get(entry.method)
                    if method is not None:
                        try:
                            method.params.model_validate(dict(entry.params))
                        except ValidationError as error:
                            error.errors(include_url=False, include_input=False)
        if not incoming.batch:
            assert len(incoming.entries) == 1

    return take


def _packet_seeds(_: Path) -> list[bytes]:
    calls: list[dict[str, object]] = [
        {"jsonrpc": "2.0", "id": number, "method": name, "params": {}}
        for number, name in enumerate(METHODS)
    ]
    address = {"address": "pci:0000:01:00.0", "generation": 3}
    acquire = {"devices": [address], "hand_over": "iommufd", "wait": 1.5, "key": "vm"}
    calls += [
        {"jsonrpc": "2.0", "id": "a", "method": "lease.acquire", "params": acquire},
        {"jsonrpc": "2.0", "method": "hello", "params": {"client": "x/1", "protocol": 1}},
    ]
    singles = [json.dumps(call).encode() for call in calls]
    return [*singles, json.dumps(calls[:3]).encode(), b"[]", b"[1]", b"\xef\xbb\xbf{}"]


# --- policies -----------------------------------------------------------------------------------


def _policies(folder: Path) -> Take:
    file = folder / "50-fuzz.toml"

    def take(data: bytes) -> None:
        file.write_bytes(data)
        try:
            policy = load([folder], 1, lambda kind, name: len(name) or None)
        except PolicyError as error:
            # Every fault names its file.
            assert error.problems
            assert all(problem.startswith(file.name) for problem in error.problems)
        else:
            assert len({rule.name for rule in policy.rules}) == len(policy.rules)

    return take


def _policy_seeds(_: Path) -> list[bytes]:
    here = Path(__file__).parents[2] / "policy"
    return [path.read_bytes() for path in sorted(here.rglob("*.toml"))]


# --- sysfs --------------------------------------------------------------------------------------

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

    def put(name: str, content: bytes | None) -> None:
        # Not in place: a simulated host's files of one content are one file.
        (device / name).unlink(missing_ok=True)
        if content is not None:
            (device / name).write_bytes(content)

    def take(data: bytes) -> None:
        name = _ATTRIBUTES[data[0] % len(_ATTRIBUTES)] if data else _ATTRIBUTES[0]
        put(name, data[1:])
        found = scan_device(root, address, plain_reader(root))
        assert found is None or (found.address == address and found.group is not None)
        put(name, before[name])

    return take


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _sysfs_seeds(folder: Path) -> list[bytes]:
    values = (b"0x8086\n", b"0x020000\n", b"flr bus\n", b"-1\n", b"(null)\n", b"", b"\xff" * 64)
    return [bytes([number]) + value for number in range(len(_ATTRIBUTES)) for value in values]


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


# --- uevents ------------------------------------------------------------------------------------


def _uevents(_: Path) -> Take:
    def take(data: bytes) -> None:
        event = parse_uevent(data)
        if event is not None:
            change = change_of(event)
            assert change.rescan or len(change.addresses) <= 1

    return take


def _uevent_seeds(_: Path) -> list[bytes]:
    path = f"/devices/pci0000:00/0000:00:1c.0/{_DEVICE}"
    events = (
        f"bind@{path}\0ACTION=bind\0SUBSYSTEM=pci\0DRIVER=vfio-pci\0PCI_SLOT_NAME={_DEVICE}\0",
        f"add@{path}/vfio-dev/vfio0\0ACTION=add\0SUBSYSTEM=vfio-dev\0DEVNAME=vfio/devices/vfio0\0",
        "add@/devices/virtual/mdev/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001\0SUBSYSTEM=mdev\0",
        "change@/devices/virtual/iommu/dmar0\0SUBSYSTEM=iommu\0",
    )
    return [*(event.encode() for event in events), b"libudev\0\xfe\xed\xca\xfe"]


# --- what the fuzzer is tried on ----------------------------------------------------------------


def _planted(_: Path) -> Take:
    def take(data: bytes) -> None:
        if data[:3] == b"\xaai!":
            raise AssertionError("the planted fault")

    return take


PLANTED = Target(_planted, lambda _: [b"\xaai "], 8)

TARGETS: Mapping[str, Target] = {
    "packets": Target(_packets, _packet_seeds, PACKET_BYTES + 16),
    "policies": Target(_policies, _policy_seeds, 16384),
    "sysfs": Target(_sysfs, _sysfs_seeds, 5000),
    "config-space": Target(_config_space, _config_seeds, 4200),
    "survey": Target(_survey, _survey_seeds, 16384),
    "uevents": Target(_uevents, _uevent_seeds, 16384),
}
