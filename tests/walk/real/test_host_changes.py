"""Functions that are removed and found again by a rescan, while their groups are leased: parked
ones, and such that a client has open, for whom the kernel waits.

The NICs behind the PCI bridge come back into the same group, whose alias the bridge is; so does the
first of two functions. They have a guest of their own: a group that the kernel makes anew has
another number.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason
from tests.contract.linux_host import write_sysfs
from tests.lab.hardware import Hardware
from tests.walk.borrowers import Borrower
from tests.walk.conftest import Start
from tests.walk.machine import Binding
from tests.walk.stage import Stage

_PCI = Path("/sys/bus/pci")
_PATIENCE = 90.0

pytestmark = pytest.mark.lab(
    kernels=("7.2", "6.12"), topology="standard", own="host-changes", limit=400
)


@pytest.fixture(autouse=True)
def _put_back(stage: Stage, hardware: Hardware) -> Iterator[None]:
    """What a test removed is back, in the groups and on the drivers that it had at boot, also where
    the test failed half-way. Clients are gone by then: they came later, so they go earlier."""
    yield
    stage.until_noticed()
    stage.daemon.until(lambda: stage.lease_count() == 0, "a lease stays")
    write_sysfs(_PCI / "rescan", "1")
    pair, sibling = hardware.two_functions
    if hardware.group_members(sibling) == [sibling]:
        removed_and_found_again(pair)
    for name in stage.before:
        until_its_own_driver_has(stage, name)


def devices_of(client: Borrower, lease: dict[str, Any]) -> dict[str, str]:
    """The endpoints of a lease, and why it has them."""
    found = client.do("call", method="lease.get", params={"lease": lease["id"]})
    bridges = [f"pci:{one.address}" for one in Hardware().functions() if one.kind == "0604"]
    devices = found["lease"]["devices"]
    return {one["address"]: one["why"] for one in devices if one["address"] not in bridges}


def events(client: Borrower, until: str) -> list[Any]:
    """What the owner is told, up to an event of this kind."""
    return [(one["kind"], one["lease"]) for one in client.do("events", name="mine", until=until)]


def refused(client: Borrower, act: str, **arguments: object) -> Reason:
    with pytest.raises(Refused) as caught:
        client.do(act, **arguments)
    assert caught.value.reason is not None
    return caught.value.reason


def generation_of(stage: Stage, name: str) -> int | None:
    """Which device is at the address; None: isod sees none there."""
    found = [one.generation for one in stage.control.devices() if one.address.name == name]
    return found[0] if found else None


def group_seen(stage: Stage, name: str) -> list[str]:
    """The endpoints of the device's group, as isod sees it."""
    groups = [[one.name for one in group.devices] for group in stage.control.groups()]
    return next((members for members in groups if name in members), [])


def until_its_own_driver_has(stage: Stage, name: str) -> None:
    """Some drivers take what a rescan finds a moment later."""
    stage.daemon.until(lambda: stage.picture()[name] == stage.before[name], f"{name} stays")


@contextmanager
def pulled_while_open(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody removes the function, and is kept waiting. Whoever has it open has to close it."""
    place = _PCI / "devices" / name
    pull = subprocess.Popen(["sh", "-c", f"echo 1 > {place}/remove"])
    try:
        yield pull
        assert pull.wait(_PATIENCE) == 0
        assert not place.exists()
    finally:
        # Where its owner did not close it, the end of the test does. It cannot be ended before.
        if pull.poll() is None:
            pull.kill()


def removed_and_found_again(name: str) -> None:
    """Nobody has it open, so that the removal does not wait."""
    write_sysfs(_PCI / "devices" / name / "remove", "1")
    write_sysfs(_PCI / "rescan", "1")


def test_a_parked_sibling_comes_back_and_is_parked_again(
    stage: Stage, borrower: Start, hardware: Hardware
) -> None:
    client = borrower()
    client.connect(stage)
    first, second = hardware.bridge_nics
    lease = client.do("acquire", devices=[first])
    removed_and_found_again(second)
    stage.daemon.wait_for("lease.device_gone", lease["id"])
    stage.daemon.wait_for("lease.device_joined", lease["id"])
    assert devices_of(client, lease) == {f"pci:{first}": "requested", f"pci:{second}": "sibling"}
    assert stage.picture()[second] == Binding("vfio-pci", "vfio-pci")
    client.do("close")
    stage.until_restored()


def test_a_requested_device_comes_back_as_a_sibling(stage: Stage, borrower: Start) -> None:
    """Handed out raw, its group is open and the function itself is not."""
    client = borrower()
    client.connect(stage)
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    wish = {"hand_over": "group", "container": "raw"}
    lease = client.do("acquire", devices=[pair, sibling], **wish)
    removed_and_found_again(pair)
    stage.daemon.wait_for("lease.device_joined", lease["id"])
    assert devices_of(client, lease) == {f"pci:{sibling}": "requested", f"pci:{pair}": "sibling"}
    client.do("close")
    stage.until_restored()


def test_an_open_device_goes_when_its_owner_closes_it_and_the_lease_goes_on(
    stage: Stage, borrower: Start, hardware: Hardware
) -> None:
    """What then comes to its address is another device, which the lease does not hand out."""
    client = borrower()
    client.connect(stage)
    single, (first, second) = stage.machine.device("single"), hardware.bridge_nics
    client.do("subscribe", name="mine", kinds=["lease"])
    lease = client.do("acquire", devices=[first, single])
    generation = generation_of(stage, first)
    with pulled_while_open(first) as pull:
        assert ("lease.held_outside", lease["id"]) in events(client, until="lease.held_outside")
        assert pull.poll() is None, "the kernel waits for its owner"
        client.do("take", role="device", which=first)
        client.do("close_taken")
    assert ("lease.device_gone", lease["id"]) in events(client, until="lease.device_gone")
    assert stage.group_state(single) == "leased"
    assert devices_of(client, lease) == {f"pci:{single}": "requested", f"pci:{second}": "sibling"}

    write_sysfs(_PCI / "rescan", "1")
    assert ("lease.device_joined", lease["id"]) in events(client, until="lease.device_joined")
    assert devices_of(client, lease)[f"pci:{first}"] == "sibling"
    assert stage.picture()[first] == Binding("vfio-pci", "vfio-pci")
    assert generation_of(stage, first) != generation
    handed = [one.get("address") for one in client.do("open")["roles"] if one["role"] == "device"]
    assert handed == [f"pci:{single}"]
    client.do("close")
    stage.until_restored()


def test_a_lease_ends_with_its_last_device_and_has_no_right_to_what_comes_there(
    stage: Stage, borrower: Start
) -> None:
    client, other = borrower(), borrower()
    client.connect(stage)
    other.connect(stage)
    single = stage.machine.device("single")
    lease = client.do("acquire", devices=[single])
    former = generation_of(stage, single)
    with pulled_while_open(single):
        stage.daemon.wait_for("lease.held_outside", lease["id"])
        client.do("close")
    stage.daemon.wait_for("lease.ended", lease["id"])
    write_sysfs(_PCI / "rescan", "1")
    stage.daemon.until(lambda: generation_of(stage, single) not in (None, former), "not noticed")
    until_its_own_driver_has(stage, single)

    by_secret = {"lease": lease["id"], "secret": lease["secret"], "name": "again"}
    assert refused(client, "open_by_secret", **by_secret) is Reason.not_found
    with stage.line() as line:
        wanted = [{"address": f"pci:{single}", "generation": former}]
        answer = line.ask("lease.acquire", devices=wanted)
    assert answer["error"]["data"]["reason"] == "gone"
    assert other.do("acquire", devices=[single])["state"] == "leased"
    other.do("close")
    stage.until_restored()


def test_a_function_that_comes_back_into_a_group_of_its_own_is_nobodys(
    stage: Stage, borrower: Start
) -> None:
    """A rescan marks a later function as one of several only once its group was chosen
    (drivers/pci/probe.c, pci_scan_slot; seen on 6.12 and 7.2): it gets another group than at boot,
    unless its header says so itself, as the first one's does. So it may be leased apart from it."""
    client, other = borrower(), borrower()
    client.connect(stage)
    other.connect(stage)
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    lease = client.do("acquire", devices=[pair])
    removed_and_found_again(sibling)
    stage.daemon.wait_for("lease.device_gone", lease["id"])
    stage.daemon.wait_for("lease.reset_changed", lease["id"], f"{sibling[5:]} is used by")
    assert Hardware().group_members(sibling) == [sibling]
    assert group_seen(stage, sibling) == [sibling]
    assert group_seen(stage, pair) == [pair]
    assert devices_of(client, lease) == {f"pci:{pair}": "requested"}
    until_its_own_driver_has(stage, sibling)

    apart = other.do("acquire", devices=[sibling])
    assert devices_of(other, apart) == {f"pci:{sibling}": "requested"}
    assert stage.picture()[pair] == Binding("vfio-pci", "vfio-pci")
    other.do("close")
    stage.daemon.wait_for("lease.ended", apart["id"])
    assert stage.picture()[sibling] == stage.before[sibling]
    assert client.do("open")["state"] == "leased"
    client.do("close")
    stage.until_restored()

    removed_and_found_again(pair)
    assert Hardware().group_members(pair) == [pair, sibling]
    stage.daemon.until(lambda: group_seen(stage, pair) == [pair, sibling], "not noticed")
    until_its_own_driver_has(stage, pair)
