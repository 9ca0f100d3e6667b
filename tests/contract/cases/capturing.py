"""A capture of a host, loaded as a simulated one, looks as the host does, and can be leased."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from isod.kernel.capture import capture_host
from isod.kernel.capture_file import write_tar
from isod.kernel.port import Kernel
from isod.kernel.simulated.captured import load_capture
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.kernel.survey import survey_host
from isod.model.address import Address
from isod.model.host import HostSnapshot
from isod.model.peer import Peer
from isod.model.policy import Policy, Rule
from isod.model.request import Acquire
from isod.model.step import OpenFile
from isod.model.terms import Terms
from isod.policy.trial import Trial
from tests.contract.acts import take_group
from tests.contract.host_under_test import HostUnderTest, Role

DRIVERS = ("nvme", "e1000", "e1000e", "shpchp", "igb")


def captured(host: HostUnderTest, folder: Path, **options: bool) -> SimulatedKernel:
    """The host, written down and loaded."""
    write_tar(folder / "host.tar", capture_host(host.kernel, host.root, **options))
    load_capture(folder / "host.tar", folder / "loaded")
    return SimulatedKernel(folder / "loaded")


def comparable(snapshot: HostSnapshot) -> Mapping[str, Any]:
    """All of a snapshot but what a capture does not keep: generations and serials."""
    kept = {field.name: getattr(snapshot, field.name) for field in fields(snapshot)}
    del kept["sequence"]
    return {
        **kept,
        "devices": {
            address: replace(device, generation=0, serial=None)
            for address, device in snapshot.devices.items()
        },
        "groups": {n: replace(group, generation=0) for n, group in snapshot.groups.items()},
    }


class CapturingCases:
    def test_a_captured_host_looks_the_same(self, host: HostUnderTest, tmp_path: Path) -> None:
        with closing(captured(host, tmp_path)) as kernel:
            wanted, found = comparable(host.kernel.snapshot(1)), comparable(kernel.snapshot(1))
        assert len(wanted["devices"]) > 5
        for address, device in wanted["devices"].items():
            assert found["devices"][address] == device
        assert found == wanted

    def test_what_is_on_vfio_is_captured_so(self, host: HostUnderTest, tmp_path: Path) -> None:
        take_group(host, host.device("single"))
        take_group(host, host.device("pair"))
        with closing(captured(host, tmp_path)) as kernel:
            assert comparable(kernel.snapshot(1)) == comparable(host.kernel.snapshot(1))
            number = host.device("single").group
            assert (tmp_path / "loaded/dev/vfio" / str(number)).exists()

    def test_what_the_host_needs_is_captured_by_kind(
        self, host: HostUnderTest, tmp_path: Path
    ) -> None:
        with closing(captured(host, tmp_path)) as kernel:
            assert _kinds(kernel) == _kinds(host.kernel)

    def test_a_survey_sees_the_same(self, host: HostUnderTest, tmp_path: Path) -> None:
        captured(host, tmp_path, survey=True).close()
        found, wanted = (
            [one.model_copy(update={"generation": 0}) for one in survey_host(root).functions]
            for root in (tmp_path / "loaded", host.root)
        )
        assert wanted
        assert found == wanted

    def test_a_serial_is_captured_only_on_demand(self, host: HostUnderTest, tmp_path: Path) -> None:
        address = host.device("single").address
        serial = host.device("single").serial
        assert serial
        for serials in (False, True):
            folder = tmp_path / str(serials)
            folder.mkdir()
            with closing(captured(host, folder, serials=serials)) as kernel:
                found = kernel.look(address)
                assert found is not None
                assert found.serial == (serial if serials else None)
            with tarfile.open(folder / "host.tar") as archive:
                held = b"".join(_content(archive, member) for member in archive)
            assert (serial.encode() in held) == serials

    def test_a_grant_runs_on_a_captured_host(self, host: HostUnderTest, tmp_path: Path) -> None:
        roles: tuple[Role, ...] = ("single", "pair", "behind_bridge")
        with closing(captured(host, tmp_path)) as kernel:
            for role in roles:
                _grant(kernel, host.device(role).address)
            for role in roles:
                found = kernel.look(host.device(role).address)
                assert found is not None
                assert found.on_vfio


def _kinds(kernel: Kernel) -> Mapping[Address, list[str]]:
    devices = tuple(kernel.snapshot(1).devices.values())
    uses = kernel.critical(devices).uses
    return {address: sorted({use.kind for use in found}) for address, found in uses.items()}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member) if member.isfile() else None
    return b"" if stream is None else stream.read()


def _grant(kernel: Kernel, address: Address) -> None:
    """Run the plan of an acquire, step by step."""
    snapshot = kernel.snapshot(1)
    rule = Rule("all", True, None, None, Terms(scrub="try", take_from=DRIVERS), "test.toml")
    facts = kernel.critical(tuple(snapshot.devices.values()))
    trial = Trial(Policy((rule,)), snapshot, facts)
    wish = Acquire.model_validate({"devices": [{"address": str(address)}]})
    peer = Peer(1000, 1000, frozenset(), 1)
    files: list[OpenFile] = []
    for step in trial.judge(peer, wish).plan.steps:
        files += kernel.run(step).files
    assert files
    for file in files:
        os.close(file.descriptor)
