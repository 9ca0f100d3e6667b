"""What the daemon finds at its start and cannot read: quarantine, and no crash."""

from __future__ import annotations

import sqlite3

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import outside
from isod.model.reason import Reason

from .borrowers import where
from .conftest import Raise, Start
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons


def damage_row(stage: Stage, body: str) -> None:
    with sqlite3.connect(stage.folder / "state" / "ledger.sqlite") as database:
        database.execute("UPDATE lease SET body = ?", (body,))
    database.close()


def put_back(stage: Stage, device: str) -> None:
    """As an administrator does with what isod gave up."""
    root = stage.machine.root
    if not outside.unbind_driver(root, device):
        outside.wait_unbound(root, device)
    outside.write(root, device, "driver_override", "")
    outside.probe_drivers(root, device)


@pytest.mark.parametrize("named", [True, False], ids=["names its device", "names nothing"])
def test_a_row_that_cannot_be_read(raised: Raise, borrower: Start, named: bool) -> None:
    """Its device is given to nobody, others are; the client keeps what it has."""
    stage = raised(managed=True)
    owner, other = borrower(), borrower()
    owner.connect(stage)
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    lease = owner.do("acquire", devices=[single], hand_over="iommufd")
    owner.do("use", what="bind")
    stage.kill()
    damage_row(stage, f'{{"devices": ["{single}' if named else "{")
    stage.start()
    stage.daemon.wait_for(f"lease {lease['id']} cannot be read")
    owner.do("use", what="attach")
    other.do("connect", **where(stage))
    with pytest.raises(Refused) as refused:
        other.do("acquire", devices=[single])
    assert refused.value.reason is Reason.quarantined
    other.do("acquire", devices=[pair])
    owner.kill()
    other.do("close")
    put_back(stage, single)


def test_a_file_that_is_damaged(raised: Raise, borrower: Start) -> None:
    stage = raised(managed=True)
    owner, other = borrower(), borrower()
    owner.connect(stage)
    single = stage.machine.device("single")
    owner.do("acquire", devices=[single], hand_over="iommufd")
    stage.kill()
    (stage.folder / "state" / "ledger.sqlite").write_bytes(b"\0" * 5000)
    for ending in ("-wal", "-shm"):
        (stage.folder / "state" / f"ledger.sqlite{ending}").unlink(missing_ok=True)
    stage.start()
    stage.daemon.wait_for("the leases cannot be read", "ledger.sqlite.unreadable-1")
    other.do("connect", **where(stage))
    with pytest.raises(Refused) as refused:
        other.do("acquire", devices=[single])
    assert refused.value.reason is Reason.quarantined
    owner.kill()
    put_back(stage, single)
