"""What the daemon finds at its start and cannot read: quarantine, and no crash."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import outside
from isod.model.reason import Reason
from tests.walk.borrowers import where
from tests.walk.conftest import Raise, Start
from tests.walk.daemon import PATIENCE
from tests.walk.stage import Stage
from tests.walk.test_admin import admins
from tests.walk.test_ahead import GPUS, RULES, WAITS, said_to_wait, until_all
from tests.walk.test_ahead import put_back as all_put_back
from tests.walk.test_pools import CARDS

pytestmark = pytest.mark.slow  # starts and ends many daemons


def damage_row(stage: Stage, body: str) -> None:
    with sqlite3.connect(stage.folder / "state" / "ledger.sqlite") as database:
        database.execute("UPDATE lease SET body = ?", (body,))
    database.close()


def overwrite(stage: Stage, name: str) -> None:
    """With its log, out of which all of it could be had again."""
    (stage.folder / "state" / name).write_bytes(b"\0" * 5000)
    for ending in ("-wal", "-shm"):
        (stage.folder / "state" / f"{name}{ending}").unlink(missing_ok=True)


def listed(stage: Stage) -> str:
    """What isoctl ls says below its table, in one line."""
    command = [
        sys.executable,
        "-m",
        "isod.cli.isoctl",
        "--socket",
        str(stage.socket),
        "ls",
        "--all",
    ]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return " ".join(ran.stdout.split())


def put_back(stage: Stage, device: str) -> None:
    """As an administrator does with what isod gave up."""
    root = stage.machine.root
    if not outside.unbind_driver(root, device):
        outside.wait_unbound(root, device)
    outside.write(root, device, "driver_override", "")
    outside.probe_drivers(root, device)


@pytest.mark.parametrize("named", [True, False], ids=["names its device", "names nothing"])
def test_restart_state_is_trusted_no_row_that_cannot_be_read(
    raised: Raise, borrower: Start, named: bool
) -> None:
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


def test_restart_state_is_trusted_no_file_that_is_damaged(raised: Raise, borrower: Start) -> None:
    stage = raised(managed=True)
    owner, other = borrower(), borrower()
    owner.connect(stage)
    single = stage.machine.device("single")
    owner.do("acquire", devices=[single], hand_over="iommufd")
    stage.kill()
    overwrite(stage, "ledger.sqlite")
    stage.start()
    stage.daemon.wait_for("the leases cannot be read", "ledger.sqlite.unreadable-1")
    other.do("connect", **where(stage))
    with pytest.raises(Refused) as refused:
        other.do("acquire", devices=[single])
    assert refused.value.reason is Reason.quarantined
    owner.kill()
    put_back(stage, single)


@pytest.mark.parametrize("body", ["{", b"\xff\xff"], ids=["no JSON", "no text"])
def test_restart_state_is_trusted_no_row_of_what_was_bound_ahead(
    raised: Raise, body: str | bytes
) -> None:
    """Its former driver is not known any more: it is lent to nobody, and the others go on."""
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    stage.stop()
    with sqlite3.connect(stage.folder / "state" / "ledger.sqlite") as database:
        address = f"pci:{GPUS[1]}"
        database.execute("UPDATE kept SET body = ? WHERE address = ?", (body, address))
    database.close()
    for _ in range(2):
        stage.start()
        stage.daemon.until(lambda: said_to_wait(stage) == {GPUS[0], *GPUS[2:]}, "others wait not")
        with stage.line() as line:
            said = line.ask("lease.explain", devices=[{"address": address}])["result"]
        assert said["refusal"]["data"]["reason"] == "quarantined"
        assert "what driver it had before" in said["refusal"]["message"]
        stage.stop()
    stage.start()
    put_back(stage, GPUS[1])
    with admins(stage) as admin:
        admin.call("quarantine.clear", {"address": address})
    all_put_back(stage)


def test_restart_state_is_trusted_no_fd_that_nobody_knows(raised: Raise) -> None:
    """A file under a hold's name, and a name that is no hold's."""
    stage = raised(managed=True)
    assert stage.manager is not None
    with open(os.devnull) as null:
        stage.manager.keep("hold-L1", null.fileno())
        stage.manager.keep("device", null.fileno())
    stage.stop()
    stage.start()
    for name in ("hold-L1", "device"):
        stage.daemon.wait_for(f"the service manager kept {name}")
        stage.manager.wait_for(f"FDSTOREREMOVE=1\nFDNAME={name}", PATIENCE)


def test_restart_state_is_trusted_no_quarantine_that_is_damaged(
    raised: Raise, borrower: Start
) -> None:
    """What was in it nobody knows, so every device is, until an administrator ends that."""
    stage = raised(managed=True)
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    with admins(stage) as admin:
        admin.call("quarantine.set", {"address": single, "why": "smells of smoke"})
    owner, client = borrower(), borrower()
    owner.connect(stage)
    lease = owner.do("acquire", devices=[pair], hand_over="iommufd")
    owner.do("use", what="bind")
    stage.kill()
    overwrite(stage, "quarantine.sqlite")
    stage.start()
    stage.daemon.wait_for("every device is in quarantine", "quarantine clear --unknown")
    owner.do("use", what="attach")
    client.do("connect", **where(stage))
    for _ in range(2):
        assert listed(stage).endswith("isoctl quarantine clear --unknown")
        with pytest.raises(Refused) as refused:
            client.do("acquire", devices=[single])
        assert refused.value.reason is Reason.quarantined
        stage.stop()
        stage.start()
        client.do("connect", **where(stage))
    with admins(stage) as admin:
        assert "damaged" in str(admin.call("quarantine.list"))
        admin.call("quarantine.set", {"address": single, "why": "smells of smoke still"})
        admin.call("quarantine.clear", {"unknown": True})
        with pytest.raises(Refused):
            admin.call("quarantine.clear", {"unknown": True})
    with pytest.raises(Refused, match="smoke still"):
        client.do("acquire", devices=[single])
    owner.do("close")
    stage.daemon.wait_for("lease.ended", lease["id"])
    client.do("acquire", devices=[pair])
    client.do("close")
    with admins(stage) as admin:
        admin.call("quarantine.clear", {"address": single})
