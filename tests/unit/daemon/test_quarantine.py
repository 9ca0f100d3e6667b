"""Quarantine on record: it outlives daemons, reboots and former versions, and exchanged devices."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from isod.core.consider import check_free
from isod.core.view import device_state, quarantines
from isod.daemon.quarantine import take_up_quarantine
from isod.daemon.store import Store, StoreError
from isod.daemon.world import World
from isod.model.event import Cleared, Quarantined
from isod.model.host import HostSnapshot
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, RefusedError
from tests.unit.core.build import ALICE, at, bridge, device, host

NIC = device("01:00.0", 1, "vfio-pci")
SIBLING = device("01:00.1", 1)
HOST = host(NIC, SIBLING, device("02:00.0", 2), bridge("03:00.0", 3), device("04:01.0", 3))
ENTRY = QuarantineEntry(NIC.address, "smoke", NIC.vendor, NIC.product)


class Log:
    """A journal that can be read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        self.lines.append(f"{kind}: {message}")


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., World]:
    """Starts a daemon's world on the folders of the one before, which it ends."""
    running: list[World] = []

    def world(snapshot: HostSnapshot = HOST, folder: str = "run") -> World:
        for former in running:
            former.store.close()
        running[:] = [World(Store(tmp_path / folder, tmp_path / "lasting"), Log(), snapshot)]
        take_up_quarantine(running[0], running[0].store)
        return running[0]

    return world


def lines(world: World) -> list[str]:
    assert isinstance(world.journal, Log)
    return world.journal.lines


def free(world: World, group: int) -> bool:
    try:
        check_free(world.ledger, ALICE, [world.snapshot.groups[group]])
    except RefusedError as error:
        assert error.refusal.reason is Reason.quarantined
        return False
    return True


def test_it_takes_the_whole_group_and_says_which_member(start: Callable[..., World]) -> None:
    world = start()
    world.apply(Quarantined(ENTRY))
    assert lines(world) == ["device.quarantined: pci:0000:01:00.0 is in quarantine: smoke"]
    assert not free(world, 1)
    assert free(world, 2)
    assert device_state(SIBLING, world.snapshot, world.ledger) == "quarantined"
    with pytest.raises(RefusedError, match=r"01:00\.0 is quarantined: smoke"):
        check_free(world.ledger, ALICE, [world.snapshot.groups[1]])


def test_it_outlives_a_reboot_and_is_gone_once_cleared(start: Callable[..., World]) -> None:
    start().apply(Quarantined(ENTRY))
    after_reboot = start(folder="run of the next boot")
    assert not free(after_reboot, 1)
    after_reboot.apply(Cleared(NIC.address))
    assert free(start(folder="run of the next boot"), 1)


def test_another_device_at_the_address_stays_in_quarantine_and_is_told_of(
    start: Callable[..., World],
) -> None:
    """Its firmware may be why it says that it is another."""
    start().apply(Quarantined(ENTRY))
    world = start(host(device("01:00.0", 1, vendor="1234", product="5678")))
    assert not free(world, 1)
    assert "quarantined as 8086:10d3 and is 1234:5678 now" in lines(world)[0]
    (shown,) = quarantines(world.ledger, world.snapshot).devices
    assert (shown.vendor, shown.product, shown.there) == ("8086", "10d3", "another")


def test_a_device_that_comes_back_is_in_quarantine_still(start: Callable[..., World]) -> None:
    start().apply(Quarantined(ENTRY))
    world = start(host(device("02:00.0", 2)))
    assert "not there" in lines(world)[0]
    assert quarantines(world.ledger, world.snapshot).devices[0].there == "none"
    world.replace_host(HOST, world.begin_look())
    assert not free(world, 1)
    assert quarantines(world.ledger, world.snapshot).devices[0].there == "same"


def former_version(folder: Path, *rows: tuple[int, str]) -> None:
    """What the version before left: groups by number, beside the leases."""
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / "ledger.sqlite") as database:
        database.executescript(
            "CREATE TABLE lease (id TEXT PRIMARY KEY, body TEXT NOT NULL);"
            "CREATE TABLE quarantine (grp INTEGER PRIMARY KEY, why TEXT);"
            "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER);"
            "PRAGMA user_version=1;"
        )
        database.executemany("INSERT INTO quarantine VALUES (?, ?)", rows)
    database.close()


def test_groups_of_the_former_version_become_their_devices(
    start: Callable[..., World], tmp_path: Path
) -> None:
    former_version(tmp_path / "run", (3, "dust"))
    assert not free(start(), 3)
    world = start()
    (shown,) = quarantines(world.ledger, world.snapshot).devices
    assert (shown.address, shown.why) == (at("04:01.0"), "dust")
    world.apply(Cleared(at("04:01.0")))
    assert free(start(), 3), "carried over another time"


def test_a_group_that_is_not_there_is_looked_for_again(
    start: Callable[..., World], tmp_path: Path
) -> None:
    former_version(tmp_path / "run", (1, "dust"))
    without = start(host(device("02:00.0", 2)))
    assert "group 1 was in quarantine and is not there: dust" in lines(without)[0]
    assert not free(start(), 1)


def damaged(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(folder / "lasting" / "quarantine.sqlite") as database:
        database.execute(statement, values)
    database.close()


def ended(world: World) -> None:
    world.store.close()


def test_a_row_that_lost_its_reason_keeps_its_device(
    start: Callable[..., World], tmp_path: Path
) -> None:
    world = start()
    world.apply(Quarantined(ENTRY))
    ended(world)
    damaged(tmp_path, "UPDATE quarantine SET why = ?, vendor = ?", b"\xff", b"")
    for line in ("is damaged", None):
        world = start()
        assert not free(world, 1)
        assert free(world, 2)
        assert world.ledger.unknown is None
        assert any("is damaged" in one for one in lines(world)) == (line is not None)
    world.apply(Cleared(NIC.address))
    assert free(start(), 1)


@pytest.mark.parametrize("name", ["../../etc", b"\xff\xfe", None, "01:00.0"])
def test_a_row_that_lost_its_device_keeps_all_until_that_is_cleared(
    start: Callable[..., World], tmp_path: Path, name: object
) -> None:
    """Also one that is written in another way than isod writes."""
    world = start()
    world.apply(Quarantined(ENTRY))
    world.apply(Quarantined(QuarantineEntry.of(device("04:01.0", 3), "dust")))
    ended(world)
    damaged(tmp_path, "UPDATE quarantine SET address = ? WHERE why = 'smoke'", name)
    for _ in range(2):
        world = start()
        assert not free(world, 2)
        assert "a record of a device in quarantine was damaged" in str(world.ledger.unknown)
        assert lines(world)[-1].endswith("isoctl quarantine clear --unknown")
    world.apply(Cleared(None))
    world = start()
    assert free(world, 2)
    assert free(world, 1)
    assert not free(world, 3), "what is on record stays"


def empty(path: Path) -> None:
    path.write_bytes(b"")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192)


def zeroed(path: Path) -> None:
    path.write_bytes(b"\0" * 5000)


def of_another_shape(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.executescript("DROP TABLE quarantine; CREATE TABLE quarantine (name TEXT);")
    database.close()


@pytest.mark.parametrize("damage", [empty, torn, zeroed, of_another_shape])
def test_a_damaged_file_is_no_empty_one(
    start: Callable[..., World], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """It lies aside; nothing is granted until an administrator says so, over restarts, too."""
    world = start()
    world.apply(Quarantined(ENTRY))
    ended(world)
    path = tmp_path / "lasting" / "quarantine.sqlite"
    damage(path)
    for _ in range(2):
        world = start(folder="run of the next boot")
        assert not free(world, 2)
        with pytest.raises(RefusedError) as refused:
            check_free(world.ledger, ALICE, [world.snapshot.groups[2]])
        assert "clear --unknown" in str(refused.value.refusal.hint)
        assert device_state(SIBLING, world.snapshot, world.ledger) == "quarantined"
        assert quarantines(world.ledger, world.snapshot).unknown is not None
    assert path.with_name("quarantine.sqlite.unreadable-1").exists()
    assert not path.with_name("quarantine.sqlite.unreadable-2").exists()
    world.apply(Quarantined(ENTRY))
    world.apply(Cleared(None))
    world = start()
    assert free(world, 2)
    assert not free(world, 1)


def test_killed_before_there_is_another_file_what_was_lost_is_not_forgotten(
    start: Callable[..., World], tmp_path: Path
) -> None:
    world = start()
    world.apply(Quarantined(ENTRY))
    ended(world)
    path = tmp_path / "lasting" / "quarantine.sqlite"
    path.rename(path.with_name("quarantine.sqlite.unreadable-1"))
    path.with_name("quarantine.sqlite.new").write_bytes(b"half of a f")
    path.with_name("quarantine.sqlite-wal").write_bytes(b"of the damaged one")
    assert not free(start(), 2)


def test_a_folder_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Store(tmp_path, tmp_path / "file")
    Store(tmp_path).close()
