"""What host.reset_set shows."""

from __future__ import annotations

from dataclasses import replace

from isod.core.ledger import Ledger
from isod.core.reset_set import ResetSets
from isod.core.reset_view import SHOWN, reset_set_info
from isod.core.view import reset_word
from isod.model.host import VFIO_PCI, HostSnapshot
from isod.model.reset import ResetSetInfo

from .build import at, bridge, device, host

PORT = replace(bridge("00:01.0", None), secondary_bus="0000:01")


def show(snapshot: HostSnapshot, short: str) -> ResetSetInfo:
    return reset_set_info(ResetSets(snapshot), snapshot.devices[at(short)], Ledger())


def test_members_come_with_group_driver_and_state() -> None:
    snapshot = host(
        PORT,
        device("01:00.0", 12, VFIO_PCI),
        device("01:00.1", 12, "igb", reset_methods=()),
    )
    found = show(snapshot, "01:00.0")
    assert (found.by, found.alone, found.total) == ("bus", True, 2)
    assert [(m.group, m.driver, m.state, m.alone, m.blocks) for m in found.members] == [
        (12, VFIO_PCI, "free", True, False),
        (12, "igb", "host", False, True),
    ]
    assert found.reset.blocked_by == (at("01:00.1"),)


def test_what_a_grant_would_park_is_in_nobodys_way() -> None:
    snapshot = host(PORT, device("01:00.0", 12), device("01:00.1", 12))
    found = show(snapshot, "01:00.0")
    assert found.reset.hot == "permitted_when"
    assert not any(member.blocks for member in found.members)


def test_an_unbound_function_of_another_group_is_in_the_way() -> None:
    found = show(host(PORT, device("01:00.0", 12), device("01:00.1", 13)), "01:00.0")
    assert (found.reset.hot, found.reset.why) == ("never", "01:00.1 is on no driver")


def test_a_device_on_a_root_bus_has_no_set() -> None:
    found = show(host(device("00:02.0", 1)), "00:02.0")
    assert (found.by, found.members, found.total, found.reset.hot) == (None, (), 0, "never")


def test_a_very_large_set_is_cut() -> None:
    functions = [device(f"01:{n // 8:02x}.{n % 8}", 1, VFIO_PCI) for n in range(SHOWN + 5)]
    found = show(host(PORT, *functions), "01:00.0")
    assert (len(found.members), found.total) == (SHOWN, SHOWN + 5)


def test_the_word_for_a_reset_does_not_trust_a_stale_bus_method() -> None:
    """On one bus the first NIC lists "bus" and the second nothing, but both reset with the bus."""
    first = device("01:01.0", 1, reset_methods=("bus",))
    second = device("01:02.0", 1, reset_methods=())
    root = device("00:02.0", 2, reset_methods=("bus",))
    sets = ResetSets(host(PORT, first, second, root))
    assert [reset_word(one, sets) for one in (first, second, root)] == [
        "hot only",
        "hot only",
        "none",
    ]
