"""The guard in the daemon, on the simulated host: what a refusal says, critical_ok, waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from isod.cli.screen.refusal import refusal_screen
from isod.cli.screen.terminal import WIDTH
from isod.client.blocking import Client
from isod.kernel.simulated import critical, faults
from isod.kernel.simulated.hosts import DEMO
from isod.model.critical import Kind
from tests.walk import policy
from tests.walk.machine import SimulatedMachine
from tests.walk.stage import Stage

from .asking import Asker

NIC, FELLOW, DISK, HOST_BRIDGE = "0000:04:01.0", "0000:04:02.0", "0000:02:00.0", "0000:00:00.0"
ROUTE = "carries the default route (eth0)"


@pytest.fixture
def root(stage: Stage) -> Iterator[Path]:
    yield stage.machine.root
    (stage.machine.root / critical.FILE).unlink(missing_ok=True)


def test_device_that_the_host_needs_until_the_route_is_moved(root: Path, asker: Asker) -> None:
    critical.need(root, NIC, "default route", ROUTE)
    refused = asker.refusal(NIC)
    assert refused["message"] == f"04:01.0 {ROUTE}"
    assert refused["devices"] == [f"pci:{NIC}"]
    assert refused["fixed_by"] == "an administrator"
    critical.need_no_more(root, NIC)
    assert asker.granted(NIC) == []


def test_a_member_of_its_group_is_refused_on_a_screen_of_three_lines(
    root: Path, asker: Asker
) -> None:
    critical.need(root, NIC, "default route", ROUTE)
    refused = asker.refusal(FELLOW)
    assert _screen(refused) == [
        "Refused: host_critical.  04:02.0 shares group 14 with 04:01.0, which carries the default "
        "route",
        "  (eth0)",
        "  Who can fix it: an administrator.  Move the route, or list 04:01.0 in critical_ok of "
        "your rule.",
    ]


def test_lists_say_what_the_host_needs_and_how_old_that_is(root: Path, stage: Stage) -> None:
    critical.need(root, NIC, "default route", ROUTE)

    def needed() -> dict[str, tuple[str, ...]]:
        return {one.address.name: one.needed for one in isod.devices() if one.needed}

    with Client.connect(stage.socket) as isod:
        # Up to some seconds old: other tests of this daemon have just asked.
        stage.daemon.until(lambda: NIC in needed(), "the route is not listed", 20.0)
        found = needed()
        assert found[NIC] == ("default route",)
        assert found[HOST_BRIDGE] == ("chipset",)
        assert FELLOW not in found
        (group,) = [one for one in isod.groups() if one.number == 14]
        assert [address.name for address in group.needed] == [NIC]
        needs = isod.info().needs
        assert needs is not None
        assert needs.unread is None
        assert needs.age < 20


def _screen(refused: dict[str, Any]) -> list[str]:
    console = Console(width=WIDTH, no_color=True)
    with console.capture() as captured:
        console.print(refusal_screen(refused["message"], refused, 0.0))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("mounted disk", "holds / (nvme0n1p2)"),
        ("swap", "holds swap (nvme0n1p3)"),
        ("volume", "holds LVM volume vg-root (nvme0n1p3)"),
    ],
)
def test_device_that_the_host_needs(root: Path, asker: Asker, kind: Kind, words: str) -> None:
    critical.need(root, DISK, kind, words)
    assert asker.words(DISK) == f"02:00.0 {words}"


def test_device_that_the_host_needs_in_the_chipset(asker: Asker) -> None:
    assert asker.words(HOST_BRIDGE) == "00:00.0 is a host bridge of the chipset"


def test_what_cannot_be_looked_up_is_refused(root: Path, asker: Asker) -> None:
    (root / critical.FILE).write_text("{")
    assert asker.words(DISK).startswith("02:00.0 may be needed by the host (critical.json: ")


def test_who_waits_is_asked_again_when_it_is_its_turn(root: Path, stage: Stage) -> None:
    """The host may have begun to need it meanwhile."""
    wanted = [{"address": DISK}]
    with stage.line() as waiter, stage.line() as other:
        with stage.control.acquire([DISK]):
            waiter.call("lease.acquire", devices=wanted, wait=30)
            stage.daemon.until(
                lambda: "others wait" in str(other.ask("lease.explain", devices=wanted)),
                "nobody waits",
            )
            critical.need(root, DISK, "mounted disk", "holds / (nvme0n1p2)")
        received = waiter.receive()
    assert received is not None
    answer, files = received
    assert not files
    assert answer["error"]["data"]["reason"] == "host_critical"


def test_what_the_host_begins_to_need_in_the_middle_of_a_grant_is_not_unbound(
    root: Path, stage: Stage
) -> None:
    """The plan stands, and its first device is being taken, when a route is set through the second
    one: that one keeps its driver all along, and the first one goes back to its own."""
    before = stage.picture()
    with stage.line() as line:
        with faults.hang(root, "bind", DISK):
            line.call("lease.acquire", devices=[{"address": DISK}, {"address": NIC}])
            stage.daemon.until(lambda: stage.picture()[DISK].driver is None, "nothing is begun")
            critical.need(root, NIC, "default route", ROUTE)
        received = line.receive()
    assert received is not None
    answer, files = received
    assert not files
    assert answer["error"]["message"] == f"04:01.0 {ROUTE}"
    data = answer["error"]["data"]
    assert (data["reason"], data["step"]) == ("host_critical", "unbind")
    assert data["undone"] == [f"pci:{DISK}"]
    assert stage.picture() == before


class TestListed:
    """A rule that lists the address in critical_ok."""

    @pytest.fixture
    def asker(self, tmp_path: Path) -> Iterator[Asker]:
        rules = policy.NOTHING + policy.rule() + f'critical_ok = ["pci:{NIC}"]\n'
        stage = Stage(lambda folder: SimulatedMachine(folder, DEMO, {}), rules)
        try:
            stage.start()
            yield Asker(stage)
        finally:
            stage.close()

    def test_it_is_granted_with_a_warning(self, asker: Asker) -> None:
        root = asker.stage.machine.root
        critical.need(root, NIC, "default route", ROUTE)
        warning = f"04:01.0 {ROUTE}; critical_ok lets it pass"
        assert asker.granted(FELLOW) == [warning]
        assert asker.granted(NIC) == [warning]
        critical.need(root, FELLOW, "console", "carries the console (ttyS4)")
        assert asker.refusal(NIC)["devices"] == [f"pci:{FELLOW}"]
