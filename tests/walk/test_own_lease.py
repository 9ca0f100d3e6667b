"""Acting on a lease: the secret, keys, fresh files, and what other users see."""

from __future__ import annotations

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason

from .borrowers import OTHER_UID, UID
from .conftest import Start
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons


def test_a_key_makes_acquire_idempotent(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    single = stage.machine.device("single")
    first = client.do("acquire", devices=[single], key="vm7")
    again = client.do("acquire", devices=[single], key="vm7", name="again")
    assert again["id"] == first["id"]
    assert again["roles"] == []
    assert again["secret"] == first["secret"], "the same user in the same cgroup may know it"
    with pytest.raises(Refused) as caught:
        client.do("acquire", devices=[stage.machine.device("pair")], key="vm7", name="other")
    assert caught.value.reason is Reason.terms
    client.do("close")
    stage.until_restored()
    later = client.do("acquire", devices=[single], key="vm7")
    assert later["id"] != first["id"], "a lease that ended does not answer to its key"
    assert later["roles"]


def test_a_key_is_one_users_own(stage: Stage, borrower: Start) -> None:
    if UID == OTHER_UID:
        pytest.skip("two users need root")
    one, other = borrower(), borrower(uid=OTHER_UID)
    one.connect(stage)
    other.connect(stage)
    first = one.do("acquire", devices=[stage.machine.device("single")], key="vm7")
    second = other.do("acquire", devices=[stage.machine.device("pair")], key="vm7")
    assert first["id"] != second["id"]


def test_fresh_files_when_the_former_are_closed(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    pair = stage.machine.device("pair")
    lease = client.do("acquire", devices=[pair], hand_over="iommufd")
    client.do("use", what="bind")
    fresh = client.do("open")
    stage.daemon.wait_for("lease.reopened", lease["id"])
    assert fresh["id"] == lease["id"]
    assert [one["role"] for one in fresh["roles"]] == ["hold", "iommufd", "device"]
    client.do("use", what="bind")
    client.do("use", what="attach")


@pytest.mark.parametrize("hand_over", ["group", "nodes"])
def test_fresh_files_of_groups(stage: Stage, borrower: Start, hand_over: str) -> None:
    client = borrower()
    client.connect(stage)
    pair = stage.machine.device("pair")
    lease = client.do("acquire", devices=[pair], hand_over=hand_over)
    fresh = client.do("open")
    assert [one["role"] for one in fresh["roles"]] == [one["role"] for one in lease["roles"]]


@pytest.mark.parametrize("bound", [False, True])
def test_no_fresh_files_while_one_is_open(stage: Stage, borrower: Start, bound: bool) -> None:
    client = borrower()
    client.connect(stage)
    single = stage.machine.device("single")
    lease = client.do("acquire", devices=[single], hand_over="iommufd")
    if bound:
        client.do("use", what="bind")
    with pytest.raises(Refused) as caught:
        client.do("open_by_secret", lease=lease["id"], secret=lease["secret"], name="second")
    assert caught.value.reason is Reason.in_use
    assert caught.value.data["devices"] == [f"pci:{single}"]
    assert stage.group_state(single) == "leased", "an open that is refused ends nothing"
    if bound:
        # A device in use is not even asked to go: its owner would see it unplugged.
        assert stage.picture()[single].driver == "vfio-pci"
        client.do("use", what="attach")
    assert client.do("open")["state"] == "leased"


def test_a_new_hold_takes_the_place_of_the_former(stage: Stage, borrower: Start) -> None:
    old, new = borrower(), borrower()
    old.connect(stage)
    new.connect(stage)
    single = stage.machine.device("single")
    lease = old.do("acquire", devices=[single], hand_over="iommufd")
    old.do("take", role="hold")
    old.do("close")
    new.do("open_by_secret", lease=lease["id"], secret=lease["secret"])
    old.do("close_taken")
    assert stage.group_state(single) == "leased"
    new.kill()
    stage.until_restored()


def test_the_secret_is_told_once(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[stage.machine.device("single")])
    for method, params in (("lease.list", {}), ("lease.get", {"lease": lease["id"]})):
        assert lease["secret"] not in str(client.do("call", method=method, params=params))
    assert not any(lease["secret"] in line for line in stage.daemon.log)


def test_a_foreign_lease_is_invisible(stage: Stage, borrower: Start) -> None:
    if UID == OTHER_UID:
        pytest.skip("two users need root")
    one, other = borrower(), borrower(uid=OTHER_UID)
    one.connect(stage)
    other.connect(stage)
    lease = one.do("acquire", devices=[stage.machine.device("single")])
    assert other.do("call", method="lease.list", params={}) == {"leases": [], "next": None}
    with pytest.raises(Refused) as caught:
        other.do("call", method="lease.get", params={"lease": lease["id"]})
    assert caught.value.reason is Reason.not_found
    assert lease["id"] not in str(other.do("call", method="host.groups", params={}))
    assert lease["id"] not in str(other.do("call", method="host.devices", params={}))


def test_released_twice(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd")
    client.do("use", what="bind")
    assert client.do("release_only") == "draining"
    assert client.do("release_only") == "draining"
    with pytest.raises(Refused) as caught:
        client.do("open")  # which closes the files first, all but the hold
    assert caught.value.reason in {Reason.in_use, Reason.not_found}
