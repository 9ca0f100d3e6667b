"""``isoctl ls`` on a small machine."""

from __future__ import annotations

import pytest

from isod.cli.pci_names import PciNames, class_words, machine_names, read_names, what
from isod.cli.screen.listing import listing_rows, listing_screen, needs_words
from isod.cli.screen.terminal import render
from isod.cli.screen.words import age, state_words
from isod.model.reply import Holder, NeedsRead

from .replies import ALICE, DEVICES, GROUPS, NOW, TWO_HOURS_AGO, address, device, group

NAMES = PciNames()
PCI_IDS = """\
#\tList of PCI ID's
1b36  Red Hat, Inc.
\t0010  QEMU NVM Express Controller
\t\t1af4 1100  A subsystem
10de  NVIDIA Corporation
\t2204  GA102 [GeForce RTX 3090]
8086  Intel Corporation
\t10d3  82574L Gigabit Network Connection
C 01  Mass storage controller
\t00  SCSI storage controller
""".splitlines(keepends=True)


WHOLE = """\
GROUP  DEVICE            WHAT                               DRIVER    RESET     STATE
   12  pci:0000:01:00.0  Ethernet (8086:10d3)               vfio-pci  function  leased L7 alice 2h
       └ 0000:01:00.1    Ethernet (8086:10d3)               vfio-pci  function  parked for L7
   13  pci:0000:02:00.0  NVMe (1b36:0010)                   nvme      function  used by the host
   14  pci:0000:04:01.0  Ethernet (8086:100e)               e1000     hot only  used by the host
       └ 0000:04:02.0    Ethernet (8086:100e)               -         hot only  blocked by 04:01.0
    -  pci:0000:41:00.0  Ethernet (8086:10d3)               e1000e    function  no IOMMU (UNSAFE)
(1 bridge not shown; --all shows them)
"""


def test_the_whole_screen() -> None:
    rows = listing_rows(DEVICES, GROUPS, NAMES, NOW)
    assert render(listing_screen(rows, hidden=1)) == WHOLE


def test_bridges_are_shown_on_demand() -> None:
    rows = listing_rows(DEVICES, GROUPS, NAMES, NOW, bridges=True)
    members = [row.device for row in rows if "0000:03" in row.device or "0000:04" in row.device]
    assert members == ["pci:0000:03:00.0", "├ 0000:04:01.0", "└ 0000:04:02.0"]
    assert [row.state for row in rows if "0000:03" in row.device] == ["bridge"]


def test_a_machine_without_devices_says_so() -> None:
    assert render(listing_screen([])) == "No devices that could be handed out.\n"


@pytest.mark.parametrize(
    ("state", "holder", "words"),
    [
        ("free", None, "free"),
        ("leased", Holder(yours=False), "leased"),
        ("leased", Holder(yours=False, user="bob", since=TWO_HOURS_AGO), "leased bob 2h"),
        ("leased", Holder(yours=True, lease="L7", uid=0), "leased L7 root"),
        ("leased", Holder(yours=True, lease="L7", uid=4_000_000), "leased L7 uid 4000000"),
        ("parked", Holder(yours=False), "parked"),
        ("draining", Holder(yours=True, lease="L7"), "draining L7"),
        ("quarantined", None, "quarantined"),
        ("host: default route", None, "host: default route"),
        ("\x1b[2J", None, "\\x1b[2J"),
    ],
)
def test_states_in_words(state: str, holder: Holder | None, words: str) -> None:
    (row,) = listing_rows([device("01:00.0", state=state, holder=holder)], GROUPS, NAMES, NOW)
    assert row.state == words


def test_a_scrub_that_waits_says_for_what() -> None:
    one = device("01:00.0", state="scrubbing", holder=ALICE, waiting="02:00.0 is leased")
    (row,) = listing_rows([one], GROUPS, NAMES, NOW)
    assert row.state == "scrubbing L7 alice 2h: 02:00.0 is leased"


def test_no_line_is_longer_than_the_screen_and_no_address_is_cut() -> None:
    long = [
        device("01:00.0", driver="d" * 60, state="s" * 80),
        device("mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", group=13),
    ]
    for width in (80, 100):
        text = render(listing_screen(listing_rows(long, GROUPS, NAMES, NOW)), width=width)
        assert max(len(line) for line in text.splitlines()) <= width
        assert "pci:0000:01:00.0" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (7205, "2h"), (9e4, "1d")],
)
def test_ages(seconds: float, words: str) -> None:
    assert age(NOW - seconds, NOW) == words


def test_names_come_from_pci_ids_and_are_short() -> None:
    names = read_names(PCI_IDS, {"10de", "8086"})
    assert what(device("01:00.0"), names) == "Ethernet Intel 82574L Gigabit Network Connection"
    gpu = device("01:00.0", vendor="10de", product="2204", **{"class": "030000"})
    assert what(gpu, names) == "VGA NVIDIA GeForce RTX 3090"
    unknown = device("01:00.0", product="ffff")
    assert what(unknown, names) == "Ethernet Intel (8086:ffff)"
    assert "1b36" not in names.vendors


def test_without_pci_ids_the_numbers_stand_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = tmp_path_factory.mktemp("names") / "pci.ids"
    assert what(device("01:00.0"), machine_names(DEVICES, [missing])) == "Ethernet (8086:10d3)"
    missing.write_text("".join(PCI_IDS))
    assert machine_names(DEVICES, [missing]).vendors == {
        "1b36": "Red Hat, Inc.",
        "8086": "Intel Corporation",
    }


@pytest.mark.parametrize(
    ("code", "words"),
    [("010802", "NVMe"), ("020000", "Ethernet"), ("02ff00", "Network"), ("5500", "Class 5500"),
     ("", "Class unknown")],
)  # fmt: skip
def test_class_words(code: str, words: str) -> None:
    assert class_words(code) == words


def test_devices_of_other_buses_have_words_of_their_own() -> None:
    mediated = device("mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", vendor="", product="")
    assert what(mediated, NAMES) == "Mediated device"


def test_what_the_host_needs_is_named_and_blocks_its_neighbours() -> None:
    needing = [
        device("04:01.0", driver="e1000", group=14, needed=("default route", "console")),
        device("04:02.0", driver="e1000", group=14),
        device("04:03.0", driver=None, group=14, state="free"),
    ]
    groups = [group(14, "04:01.0", "04:02.0", "04:03.0", needed=(address("04:01.0"),))]
    rows = listing_rows(needing, groups, NAMES, NOW)
    assert [row.state for row in rows] == [
        "host: default route, console",
        "blocked by 04:01.0",
        "blocked by 04:01.0",
    ]


def test_a_lease_is_told_of_rather_than_what_the_host_once_needed() -> None:
    taken = device("04:01.0", group=14, state="leased", needed=("chipset",))
    groups = [group(14, "04:01.0", needed=(address("04:01.0"),))]
    (row,) = listing_rows([taken], groups, NAMES, NOW)
    assert row.state == "leased"


def test_old_needs_say_how_old_they_are() -> None:
    needing = [device("04:01.0", needed=("swap",))]
    assert needs_words(NeedsRead(age=3.4), needing) == "(what the host needs: as of 3 s ago)"
    assert needs_words(NeedsRead(age=0.2), needing) is None
    assert needs_words(NeedsRead(age=3.4), DEVICES) is None
    assert needs_words(None, needing) is None


def test_needs_that_could_not_be_read_are_no_needs_that_are_not() -> None:
    note = needs_words(NeedsRead(age=3.4, unread="too\x1b long"), DEVICES)
    assert note is not None
    assert "could not be read: too\\x1b long" in note
    rows = listing_rows(DEVICES, GROUPS, NAMES, NOW)
    assert "nothing is granted" in render(listing_screen(rows, note=note))


def test_what_is_bound_ahead_says_so_as_long_as_it_is_free() -> None:
    alone = group(12, "01:00.0")
    waits = device("01:00.0", driver="vfio-pci", state="free", ahead=True)
    assert state_words(waits, alone, NOW) == "free, bound ahead"
    leased = waits.model_copy(update={"state": "leased"})
    assert state_words(leased, alone, NOW) == "leased"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"state": "free", "held_outside": "another program"}, "held by another program"),
        ({"state": "leased", "held_outside": "no driver"}, "leased: on no driver"),
        ({"state": "parked", "held_outside": "e1000e"}, "parked: on e1000e"),
        (
            {"state": "host", "ahead_problem": "not bound ahead: stuck"},
            "used by the host: not bound ahead: stuck",
        ),
        (
            {"state": "free", "ahead_problem": "not bound ahead: stuck"},
            "free: not bound ahead: stuck",
        ),
    ],
)
def test_what_others_have_and_what_went_wrong_is_said(facts: dict[str, str], words: str) -> None:
    assert state_words(device("01:00.0", **facts), group(12, "01:00.0"), NOW) == words
