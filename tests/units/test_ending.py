"""Ending clients that do not let go takes a drop-in: with it, and without it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware
from tests.vmm.broker import driver_of

from .administrator import Administrator
from .client import NOBODY, Client
from .conftest import RULES
from .init import READY_SECONDS, REPOSITORY, Init, outside, until_driver

pytestmark = pytest.mark.lab(kernels=("7.2",), limit=1200)

DROP_IN = REPOSITORY / "systemd/drop-ins/end-clients.conf"
KILL = """
anchor = ["hold", "cgroup"]
revoke = { ask = "200ms", then = "kill" }
"""
CAP_KILL = 1 << 5
CAP_SYS_RESOURCE = 1 << 24


@pytest.fixture
def scopes() -> Iterator[Callable[[str, Client, int], None]]:
    """Puts a client into a cgroup of its own. One that belongs to its user, as those that a user's
    service manager makes, has a ``cgroup.kill`` that isod may not write to."""
    slice_ = Path("/sys/fs/cgroup/isod-lab.slice")
    slice_.mkdir()
    made: list[Path] = []

    def put(name: str, client: Client, owner: int) -> None:
        place = slice_ / name
        place.mkdir()
        made.append(place)
        for path in (place, *place.iterdir()):
            os.chown(path, owner, owner)
        (place / "cgroup.procs").write_text(str(outside(str(client.pid_inside))))

    yield put
    for place in made:
        (place / "cgroup.kill").write_text("1")
        until_empty(place)
        place.rmdir()
    slice_.rmdir()


def until_empty(place: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while "populated 1" in (place / "cgroup.events").read_text():
        assert time.monotonic() < deadline, f"{place} does not become empty"
        time.sleep(0.05)


def leased(client: Client, device: str, **wishes: object) -> str:
    """A client's lease, with its device in use."""
    client.do("connect")
    lease = client.do("acquire", device=device, **wishes)
    assert isinstance(lease, str), lease
    assert client.do("use", device=device, what="bind") is None
    return lease


def test_without_the_drop_in_nobody_is_ended_and_with_it_they_are(
    init: Init,
    hardware: Hardware,
    administrator: Administrator,
    rules: Callable[[str], None],
    scopes: Callable[[str, Client, int], None],
) -> None:
    devices = (hardware.nvme, *hardware.switch_nics)
    nvme, first, second = devices
    drivers = {device: driver_of(device) for device in devices}
    rules(RULES + KILL)
    with Client(init) as alone, Client(init) as scoped:
        leases = {nvme: leased(alone, nvme)}
        scopes("first.scope", scoped, 0)
        leases[first] = leased(scoped, first, anchor="cgroup")
        for lease in leases.values():
            answer = administrator.revoke(lease)
            assert answer["asked"]
            assert answer["lease"]["revocation"]["then"] == "kill"
        for device, lease in leases.items():
            found = administrator.until(lease, lambda it: it["revocation"]["peer"] == "failed")
            assert (found["state"], found["open"]) == ("draining", [f"pci:{device}"])
            assert driver_of(device) == "vfio-pci"
            answer = administrator.revoke(lease)
            assert (answer["asked"], answer["held"]) == (False, [f"pci:{device}"])
        told = init.log("--output", "cat")
        assert "isod may not end the process" in told
        assert "cannot end what is in the cgroup /isod-lab.slice/first.scope" in told
        assert alone.do("acquire", device=first) == {"refused": "group_busy"}
        assert scoped.do("acquire", device=nvme) == {"refused": "group_busy"}

        with init.with_drop_in(DROP_IN):
            assert capabilities(init) == CAP_KILL | CAP_SYS_RESOURCE
            # What could not be done before the restart is done after it.
            alone.wait()
            scoped.wait()
            for device in leases:
                until_driver(device, drivers[device])
            administrator.connect()
            with Client(init) as listens, Client(init) as stubborn, Client(init) as crowd:
                stubborn.do("ignore_sigterm")
                scopes("second.scope", crowd, NOBODY)
                leases = {
                    nvme: leased(listens, nvme),
                    first: leased(stubborn, first),
                    second: leased(crowd, second, anchor="cgroup"),
                }
                for lease in leases.values():
                    assert administrator.revoke(lease, now=True)["lease"]["state"] == "draining"
                for client in (listens, stubborn, crowd):
                    client.wait()
                for device, driver in drivers.items():
                    until_driver(device, driver)
                told = init.log("--output", "cat")
                assert f"process {listens.pid_inside}, by SIGTERM" in told
                assert f"process {stubborn.pid_inside}, by SIGKILL" in told
                assert "all of /isod-lab.slice/second.scope, by SIGKILL" in told
    assert capabilities(init) == CAP_SYS_RESOURCE


def capabilities(init: Init) -> int:
    """What isod has."""
    status = Path(f"/proc/{outside(init.until_active())}/status").read_text()
    fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
    assert fields["CapBnd"] == fields["CapEff"]
    return int(fields["CapEff"], 16)
