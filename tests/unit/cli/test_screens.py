"""``isoctl show``, the lease screens and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from isod.cli.handed import HandedFiles
from isod.cli.pci_names import PciNames
from isod.cli.screen.device import device_screen
from isod.cli.screen.lease import acquired_screen, leases_screen, released_screen
from isod.cli.screen.quarantine import quarantine_screen
from isod.cli.screen.refusal import refusal_screen
from isod.cli.screen.terminal import render
from isod.cli.screen.words import clock
from isod.model.reason import Reason
from isod.model.reply import Quarantines

from .replies import BY_ADDRESS, GROUPS, NOW, TWO_HOURS_AGO, address, device, group, lease


def show(name: str, group_place: int | None) -> str:
    its_group = None if group_place is None else GROUPS[group_place]
    screen = device_screen(BY_ADDRESS[address(name)], its_group, BY_ADDRESS, PciNames(), NOW)
    return render(screen)


def test_show_tells_where_a_device_sits_and_what_blocks_it() -> None:
    assert show("04:02.0", 2).splitlines() == [
        "pci:0000:04:02.0  Ethernet (8086:100e)      group 14, behind bridge 0000:03:00.0, NUMA 0",
        "  State                  blocked by 04:01.0",
        "  Driver                 none",
        "  Shares its group with  bridge 03:00.0, 04:01.0 (used by e1000)",
        "  Reset                  hot reset only: hits everything on its bus or slot",
    ]


def test_show_tells_of_a_leased_device() -> None:
    text = show("01:00.0", 1)
    assert "leased L7 alice 2h" in text
    assert "vfio-pci (as vfio3)" in text
    assert "function reset (flr, pm); hits nothing else" in text


def test_show_tells_of_quarantine_and_of_a_neighbour_in_it() -> None:
    sick = device("01:00.0", state="quarantined", quarantine="not scrubbed\x1b")
    beside = device("01:00.1", state="quarantined")
    its_group = group(12, "01:00.0", "01:00.1", quarantined=(sick.address,))
    text = render(device_screen(sick, its_group, {}, PciNames(), NOW))
    assert "State                  quarantined" in text
    assert "not scrubbed\\x1b" in text
    assert "blocked by 01:00.0 (quarantined)" in render(
        device_screen(beside, its_group, {}, PciNames(), NOW)
    )


def test_leases_tell_what_a_scrub_waits_for() -> None:
    text = render(leases_screen([lease(state="scrubbing", waiting="02:00.0 is leased")], NOW))
    assert "waits:" in text
    assert "is leased" in text


def test_leases_tell_what_is_taken_from_them_and_until_when_it_is_to_be_closed() -> None:
    requested, parked = lease().devices
    devices = (requested.model_copy(update={"held_outside": "no driver"}), parked)
    taken = lease().model_copy(update={"devices": devices, "leaving": NOW})
    text = render(leases_screen([taken], NOW))
    assert f"01:00.0 is on no driver, to be closed until {clock(NOW)}" in " ".join(text.split())


def test_leases_tell_that_their_owner_is_asked_to_let_go_and_why_they_are_in_conflict() -> None:
    revocation = {"deadline": NOW, "then": "wait", "why": None, "overdue": False, "peer": None}
    joined = "groups 1 and 2 are not isolated from each other"
    text = render(leases_screen([lease(revocation=revocation, conflict=joined)], NOW))
    assert f"asked to let go until {clock(NOW)}; {joined}" in " ".join(text.split())


def test_quarantine_tells_what_is_there_now() -> None:
    entry = {"address": "01:00.0", "vendor": "8086", "product": "10d3", "why": "smoke"}
    found = Quarantines.model_validate({"devices": [{**entry, "there": "another"}]})
    assert render(quarantine_screen(found)).splitlines() == [
        "pci:0000:01:00.0  8086:10d3  smoke (another device is there now)"
    ]
    assert render(quarantine_screen(Quarantines(devices=()))) == "No device is in quarantine.\n"


def test_a_lost_record_of_quarantine_is_told_with_who_can_end_it() -> None:
    entry = {"address": "01:00.0", "vendor": "8086", "product": "10d3", "why": "smoke"}
    found = {"devices": [{**entry, "there": "same"}], "unknown": "the disk was torn\x1b"}
    for given in (found, {**found, "devices": []}):
        text = " ".join(render(quarantine_screen(Quarantines.model_validate(given))).split())
        assert "Every device is in quarantine: the disk was torn\\x1b. An administrator" in text
        assert text.endswith("isoctl quarantine clear --unknown")


def test_show_warns_of_a_device_without_iommu() -> None:
    text = show("41:00.0", None)
    assert "no IOMMU group" in text
    assert "UNSAFE" in text


def test_show_tells_of_functions_slots_and_firmware() -> None:
    one = device(
        "01:00.0",
        virtual_functions=(address("01:10.0"), address("01:10.1"), address("01:10.2")),
        physical_function=address("01:00.7"),
        slot="3\x1b",
        reset="none",
        reset_methods=(),
    )
    its_group = group(12, "01:00.0", firmware_mapping=True)
    text = render(device_screen(one, its_group, {}, PciNames(), NOW))
    assert "01:10.0, 01:10.1 and 01:10.2" in text
    assert "of 01:00.7" in text
    assert "3\\x1b" in text
    assert "alone in its group" in text
    assert "mapped 1:1" in text


def test_leases() -> None:
    draining = lease(id="L8", state="draining", open=("pci:0000:01:00.0",))
    lines = render(leases_screen([lease(), draining], NOW)).splitlines()
    assert lines[0].split() == ["LEASE", "STATE", "AGE", "OWNER", "RULE", "AS", "DEVICES"]
    assert (
        "L7     leased     2h  alice (4121)  alice-vm  iommufd  01:00.0 (parked: 01:00.1)"
        in lines[1]
    )
    assert "still open: 01:00.0" in " ".join(" ".join(lines[2:]).split())
    assert render(leases_screen([], NOW)) == "No leases.\n"


def test_acquired_names_everything_that_was_got() -> None:
    files = HandedFiles(hold=5, iommufd=6, devices={address("01:00.0"): 7})
    text = render(acquired_screen(lease(secret="word"), files, ["reset\nfailed"]))
    assert text.splitlines() == [
        "Lease L7  by rule alice-vm, handed over as iommufd",
        "  pci:0000:01:00.0  group 12  requested, vfio3",
        "  pci:0000:01:00.1  group 12  comes along: it shares the group, parked, without a file",
        "  secret  word",
        "  files   hold 5, iommufd 6, device 01:00.0 7",
        "  warning reset\\nfailed",
    ]


def test_released_tells_what_is_waited_for() -> None:
    waiting = render(released_screen(lease(state="draining", open=("pci:0000:01:00.0",))))
    assert "waits until 01:00.0 is closed" in waiting
    assert "put back" in render(released_screen(lease(state="scrubbing")))


def test_a_refusal_says_what_blocks_and_who_can_fix_it() -> None:
    data = {
        "reason": "group_busy",
        "devices": ["pci:0000:01:00.0"],
        "holder": {"yours": False, "user": "bob", "since": TWO_HOURS_AGO},
        "errno": None,
        "hint": "try again when it is free",
        "retry": True,
    }
    assert render(refusal_screen("group 12 is leased", data, NOW)).splitlines() == [
        "Refused: group_busy.  group 12 is leased",
        "  01:00.0; held by bob for 2h",
        "  Who can fix it: the holder.  Try again when it is free",
    ]


def test_a_refusal_does_not_repeat_what_its_message_says() -> None:
    data = {"reason": "quarantined", "devices": ["pci:0000:01:00.0"], "hint": "isoctl help"}
    assert render(refusal_screen("01:00.0 is quarantined", data, NOW)).splitlines() == [
        "Refused: quarantined.  01:00.0 is quarantined",
        "  Who can fix it: an administrator.  isoctl help",
    ]


def test_a_refusal_tells_what_failed_and_what_was_undone() -> None:
    data = {
        "reason": "kernel",
        "devices": ["pci:0000:01:00.0", "strange"],
        "holder": {"yours": True, "lease": "L7"},
        "step": {"step": "bind", "address": "pci:0000:01:00.1"},
        "errno": 16,
        "undone": ["unbind", {"step": "bind", "address": None}],
        "rule": "r",
        "term": "memlock",
    }
    text = " ".join(render(refusal_screen("step failed", data, NOW)).split())
    assert "01:00.0, strange; held by you as L7; failed at bind pci:0000:01:00.1; EBUSY" in text
    assert "undone: unbind, bind; rule r; term memlock" in text


@pytest.mark.parametrize("reason", [*Reason.__members__, "from_the_future"])
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"devices": ["pci:0000:01:00.0"] * 250, "hint": "do this " * 90, "errno": 16},
        {"devices": [], "holder": None, "hint": "x" * 5000, "undone": []},
    ],
)
@pytest.mark.parametrize("message", ["", "no", "word " * 500, "\x1b[2J" * 99])
def test_a_refusal_never_takes_more_than_five_lines(
    reason: str, data: dict[str, Any], message: str
) -> None:
    lines = render(refusal_screen(message, data | {"reason": reason}, NOW)).splitlines()
    assert len(lines) <= 5
    assert max(len(line) for line in lines) <= 100
    assert lines[0].startswith(f"Refused: {reason}.")
    assert any(line.startswith("  Who can fix it: ") for line in lines)
    assert "\x1b" not in "".join(lines)
