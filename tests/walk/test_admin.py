"""The admin socket: root's alone, and what can be done there."""

from __future__ import annotations

import pytest

from isod.client.blocking import Client
from isod.client.errors import ConnectionLost, Refused
from isod.model.method import METHODS
from isod.model.reason import Reason

from .borrowers import OTHER_UID, UID, Borrower
from .conftest import Raise, Start
from .policy import EVERYTHING, NOTHING
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

ADMIN_METHODS = [method.name for method in METHODS.values() if method.admin]
PARAMS: dict[str, dict[str, object]] = {
    "admin.revoke": {"lease": "L1"},
    "quarantine.set": {"address": "01:00.0", "why": "x"},
    "quarantine.clear": {"address": "01:00.0"},
}


NOTHING_IN_IT: dict[str, object] = {"devices": [], "unknown": None}


def admins(stage: Stage) -> Client:
    return Client.connect(stage.socket.parent / "admin" / "admin.sock", timeout=30)


def test_there_are_admin_methods() -> None:
    assert "admin.revoke" in ADMIN_METHODS


@pytest.mark.parametrize("method", ADMIN_METHODS)
def test_the_ordinary_socket_refuses_them_to_root_as_well(stage: Stage, method: str) -> None:
    with pytest.raises(Refused) as refused:
        stage.control.call(method, PARAMS.get(method, {}))
    assert refused.value.reason is Reason.denied


def test_only_its_owner_can_reach_the_socket(stage: Stage) -> None:
    folder = stage.socket.parent / "admin"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "admin.sock").stat().st_mode & 0o077 == 0


def test_a_revoked_lease_drains_until_its_files_are_closed(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    device = stage.machine.device("single")
    lease = client.do("acquire", devices=[device], hand_over="iommufd")
    with admins(stage) as admin:
        listed = admin.call("admin.leases", {})
        assert isinstance(listed, dict)
        assert [one["id"] for one in listed["leases"]] == [lease["id"]]
        revoked = admin.call("admin.revoke", {"lease": lease["id"], "now": True})
        assert isinstance(revoked, dict)
        assert revoked["lease"]["state"] == "draining"
        with pytest.raises(Refused) as refused:
            admin.call("admin.revoke", {"lease": "L999"})
        assert refused.value.reason is Reason.not_found
    stage.daemon.wait_for("admin.asked", f"lease={lease['id']}", "admin_uid=0", "admin_pid=")
    stage.daemon.wait_for("lease.in_use", lease["id"])
    client.do("close")


def test_a_device_in_quarantine_is_given_to_nobody(raised: Raise, borrower: Start) -> None:
    stage = raised()
    client = borrower()
    client.connect(stage)
    device = stage.machine.device("single")
    with admins(stage) as admin:
        admin.call("quarantine.set", {"address": device, "why": "smells of smoke"})
        with pytest.raises(Refused) as refused:
            client.do("acquire", devices=[device])
        assert refused.value.reason is Reason.quarantined
        assert "smells of smoke" in refused.value.message
    stage.kill()
    stage.start()
    client.connect(stage)
    with pytest.raises(Refused):
        client.do("acquire", devices=[device])
    with admins(stage) as admin:
        assert admin.call("quarantine.clear", {"address": device}) == NOTHING_IN_IT
        with pytest.raises(Refused) as refused:
            admin.call("quarantine.clear", {"address": device})
        assert refused.value.reason is Reason.not_found
    assert client.do("acquire", devices=[device])["state"] == "leased"
    client.do("close")


def test_a_policy_is_read_anew_and_a_faulty_one_is_not_used(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=NOTHING)
    client = borrower()
    client.connect(stage)
    device = stage.machine.device("single")
    with pytest.raises(Refused):
        client.do("acquire", devices=[device])
    with admins(stage) as admin:
        stage.write_policy(EVERYTHING)
        assert admin.call("admin.reload") == {"policy": 2, "rules": 1, "warnings": []}
        lease = client.do("acquire", devices=[device])
        stage.write_policy("version = 2\n")
        with pytest.raises(Refused) as refused:
            admin.call("admin.reload")
        assert refused.value.reason is Reason.policy_invalid
        assert "version" in str(refused.value.data["problems"])
        stage.write_policy(NOTHING)
        admin.call("admin.reload")
        assert (
            _state(client.do("call", method="lease.get", params={"lease": lease["id"]})) == "leased"
        )
    client.do("close")
    with pytest.raises(Refused):
        client.do("acquire", devices=[device], name="again")


def _state(answer: dict[str, dict[str, str]]) -> str:
    return answer["lease"]["state"]


def as_admin(client: Borrower, stage: Stage) -> None:
    path = stage.socket.parent / "admin" / "admin.sock"
    client.do("connect", socket=str(path), kind=stage.machine.kind, root=str(stage.machine.root))


def leases_told(client: Borrower) -> object:
    return client.do("call", method="admin.leases", params={})


@pytest.mark.skipif(UID == OTHER_UID, reason="users need root")
def test_whom_the_policy_names_may_administer(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=EVERYTHING + f"[admin]\nwho = [{{ uid = [{UID}] }}]\n")
    named, other = borrower(), borrower(uid=OTHER_UID)
    as_admin(named, stage)
    assert leases_told(named) == {"leases": [], "next": None}
    with pytest.raises(ConnectionLost) as lost:
        as_admin(other, stage)
    assert "keeps you out" in str(lost.value)
    with admins(stage) as root:
        root.call("admin.leases", {})


@pytest.mark.skipif(UID == OTHER_UID, reason="users need root")
def test_who_is_named_no_more_is_out_at_once(raised: Raise, borrower: Start) -> None:
    """The connection that he has is of no use, and he gets no new one."""
    stage = raised(rules=EVERYTHING + f"[admin]\nwho = [{{ uid = [{UID}] }}]\n")
    named = borrower()
    as_admin(named, stage)
    stage.write_policy(EVERYTHING)
    with admins(stage) as root:
        root.call("admin.reload")
    with pytest.raises(Refused) as refused:
        leases_told(named)
    assert refused.value.reason is Reason.denied
    with pytest.raises(Refused):
        named.do("call", method="lease.list", params={})
    with pytest.raises(ConnectionLost):
        as_admin(named, stage)


@pytest.mark.skipif(UID == OTHER_UID, reason="users need root")
def test_rights_on_the_socket_are_not_enough(raised: Raise, borrower: Start) -> None:
    """Rights go by user alone; the unit is asked for with every request."""
    stage = raised(
        rules=EVERYTHING + f'[admin]\nwho = [{{ uid = [{UID}], unit = ["no-such.service"] }}]\n'
    )
    client = borrower()
    with pytest.raises(Refused) as refused:
        as_admin(client, stage)
    assert refused.value.reason is Reason.denied
    assert "no administrator" in refused.value.message
