"""The store: what was written is there after a kill, and what is corrupt is not guessed."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from isod.daemon.store import Store, StoreError
from isod.model.address import Address
from isod.model.lease import Lease, LeaseDevice, Owner, State
from isod.model.step import (
    Bind,
    Fence,
    GrantNodes,
    GroupName,
    HotReset,
    Limit,
    OpenGroup,
    OpenIommufd,
    Probe,
    Reset,
    Restore,
    RevokeNodes,
    Step,
    Unbind,
)
from isod.model.terms import Terms

NVME = Address.parse("02:00.0")
GROUP = GroupName(13, 99)
EVERY_STEP: tuple[Step, ...] = (
    Unbind(NVME, 5, "nvme", "vfio-pci"),
    Unbind(NVME, 5, "shpchp", None),
    Bind(NVME, 5, "vfio-pci"),
    Probe(GROUP, "iommufd", NVME, full=True),
    Reset(NVME, 5, required=True),
    HotReset(NVME, 5, ((NVME, 5),), (GROUP,), required=False),
    Limit(4000, 77, 1 << 33, -1),
    GrantNodes((GROUP,), 1000),
    RevokeNodes((GROUP,), 1000),
    OpenIommufd((NVME,)),
    OpenGroup((GROUP,), (NVME,), ready=False),
    Fence(NVME, 5),
    Restore(NVME, 5, "nvme", None),
)
LEASE = Lease(
    "L1",
    "digest",
    Owner(1000, 4000, 77),
    "rule",
    "iommufd",
    Terms(memlock=1 << 33),
    (LeaseDevice(NVME, 5, 13, "requested", "nvme", touched=True, cdev="vfio3"),),
    (GROUP,),
    EVERY_STEP,
    former_limit=(8 << 20, -1),
)


def test_rows_survive_a_daemon_that_never_closed(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.remember(LEASE)
    number = first.next_number()
    first._db.close()
    first.quarantine._db.close()
    second = Store(tmp_path)
    assert second.leases() == ((LEASE,), ())
    assert second.next_number() == number + 1
    second.close()


def test_a_row_is_replaced_and_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember(LEASE)
    later = replace(LEASE, state=State.draining)
    store.remember(later)
    assert store.leases() == ((later,), ())
    store.forget(LEASE.id)
    assert store.leases() == ((), ())
    store.close()


def test_a_second_daemon_is_kept_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember(LEASE)
    with pytest.raises(StoreError):
        Store(tmp_path)
    store.close()


def test_a_corrupt_row_is_told_and_not_guessed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember(LEASE)
    store.remember(replace(LEASE, id="L2"))
    store.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.execute("UPDATE lease SET body = '{}' WHERE id = 'L1'")
    database.close()
    store = Store(tmp_path)
    leases, [row] = store.leases()
    assert [lease.id for lease in leases] == ["L2"]
    assert (row.name, row.body) == ("L1", "{}")
    store.set_aside(row)
    assert store.leases() == (leases, ())
    store.close()


def test_a_row_under_another_name_is_corrupt(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember(LEASE)
    store.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.execute("UPDATE lease SET id = 'L7'")
    database.close()
    store = Store(tmp_path)
    leases, [row] = store.leases()
    assert not leases
    assert row.why == "it is the row of L1"
    store.close()


@pytest.mark.parametrize("damage", ["no database", "torn"])
def test_a_damaged_file_is_kept_and_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ledger.sqlite"
    if damage == "torn":
        store = Store(tmp_path)
        for number in range(1, 200):
            store.remember(replace(LEASE, id=f"L{number}"))
        store.close()
        whole = path.read_bytes()
        path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    else:
        path.write_bytes(b"not a database, certainly" * 100)
    store = Store(tmp_path)
    assert store.damage is not None
    assert "ledger.sqlite.unreadable-1" in store.damage
    assert store.leases() == ((), ())
    store.close()
    assert (tmp_path / "ledger.sqlite.unreadable-1").exists()
