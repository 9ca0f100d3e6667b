"""What a lease lives as long as: its hold, its owner's cgroup, or until somebody ends it."""

from __future__ import annotations

import os
import signal

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import cgroups, faults
from isod.model.reason import Reason

from . import policy
from .administrator import revoke, until_over
from .borrowers import Borrower
from .conftest import Raise, Start
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

ANY = 'anchor = ["hold", "cgroup", "explicit"]'
EXPLICIT = 'anchor = ["explicit"]'
CGROUP = 'anchor = ["cgroup"]'
SCOPE = "/machine.slice/libpod-7.scope"


def rules(*terms: str) -> str:
    return policy.NOTHING + policy.rule(terms="\n".join(terms))


def within(stage: Stage, client: Borrower, path: str = SCOPE) -> Borrower:
    """The client, connected, in a cgroup of its own."""
    cgroups.make_cgroup(stage.machine.root, path)
    client.connect(stage)
    client.do("enter_cgroup", path=path)
    return client


def test_the_first_of_the_rule_is_what_one_gets_without_a_wish(
    raised: Raise, borrower: Start
) -> None:
    stage = raised(rules=rules('anchor = ["explicit", "hold"]'))
    client = borrower()
    client.connect(stage)
    single = stage.machine.device("single")
    lease = client.do("acquire", devices=[single], hand_over="iommufd")
    assert lease["anchor"] == "explicit"
    assert [role["role"] for role in lease["roles"]] == ["iommufd", "device"]
    client.do("release")
    stage.until_restored()
    lease = client.do("acquire", devices=[single], hand_over="iommufd", anchor="hold")
    assert lease["anchor"] == "hold"
    assert lease["roles"][0]["role"] == "hold"
    client.do("close")


@pytest.mark.parametrize("anchor", ["cgroup", "explicit"])
def test_what_the_rule_does_not_list_is_refused(
    raised: Raise, borrower: Start, anchor: str
) -> None:
    stage = raised(rules=policy.EVERYTHING)
    client = borrower()
    client.connect(stage)
    with pytest.raises(Refused) as refused:
        client.do("acquire", devices=[stage.machine.device("single")], anchor=anchor)
    assert refused.value.reason is Reason.terms
    assert refused.value.data["term"] == "anchor"
    params = {"devices": [{"address": stage.machine.device("single")}], "anchor": anchor}
    told = client.do("call", method="lease.explain", params=params)
    assert told["refusal"]["data"]["reason"] == "terms"


def test_an_explicit_lease_outlives_its_client_and_the_daemon(
    raised: Raise, borrower: Start
) -> None:
    stage = raised(rules=rules(EXPLICIT))
    client, later = borrower(), borrower()
    client.connect(stage)
    single = stage.machine.device("single")
    lease = client.do("acquire", devices=[single], hand_over="iommufd")
    client.kill()
    stage.until_noticed()
    assert stage.group_state(single) == "leased"
    stage.kill()
    stage.start()
    assert stage.group_state(single) == "leased"
    later.connect(stage)
    again = later.do("open_by_secret", lease=lease["id"], secret=lease["secret"])
    assert [role["role"] for role in again["roles"]] == ["iommufd", "device"]
    later.do("use", what="bind")
    assert later.do("release") == "draining"
    stage.until_restored()


def test_an_explicit_lease_ends_by_an_administrator(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(EXPLICIT))
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[stage.machine.device("single")], hand_over="nodes")
    client.close()
    revoke(stage, lease["id"], now=True)
    stage.until_restored()


def test_an_explicit_lease_whose_reply_is_not_read_can_be_had_by_its_key(
    raised: Raise, borrower: Start
) -> None:
    stage = raised(rules=rules(EXPLICIT))
    client, again = borrower(), borrower()
    client.connect(stage)
    single = stage.machine.device("single")
    client.do("ask", devices=[single], hand_over="iommufd", key="mine")
    client.do("await_answer")
    client.kill()
    again.connect(stage)
    lease = again.do("acquire", devices=[single], key="mine")
    assert lease["secret"]
    assert lease["roles"] == []
    again.do("release")
    stage.until_restored()


def test_a_cgroup_lease_ends_when_the_cgroup_is_empty(raised: Raise, borrower: Start) -> None:
    """Not with the process that asked: a child goes on."""
    stage = raised(rules=rules(CGROUP))
    client = within(stage, borrower())
    single = stage.machine.device("single")
    lease = client.do("acquire", devices=[single], hand_over="nodes")
    assert (lease["anchor"], lease["roles"]) == ("cgroup", [])
    client.do("disconnect")
    child = client.do("leave_a_child")
    client.kill()
    assert stage.group_state(single) == "leased"
    os.kill(child, signal.SIGKILL)
    stage.daemon.wait_for("lease.draining", lease["id"], f"its cgroup {SCOPE} is empty")
    stage.until_restored()


def test_a_cgroup_is_looked_at_again_after_a_restart(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(CGROUP))
    client = within(stage, borrower())
    single = stage.machine.device("single")
    lease = client.do("acquire", devices=[single], hand_over="iommufd")
    client.do("use", what="bind")
    stage.kill()
    stage.start()
    assert stage.group_state(single) == "leased"
    stage.kill()
    client.kill()
    stage.start()
    stage.daemon.wait_for("lease.draining", lease["id"], "is empty")
    stage.until_restored()


def test_another_cgroup_of_the_same_name_is_another(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(CGROUP))
    client, stranger = within(stage, borrower()), borrower()
    lease = client.do("acquire", devices=[stage.machine.device("single")], hand_over="nodes")
    stage.kill()
    client.kill()
    cgroups.remove_cgroup(stage.machine.root, SCOPE)
    cgroups.make_cgroup(stage.machine.root, "/other.scope")
    cgroups.make_cgroup(stage.machine.root, SCOPE)
    stage.start()
    within(stage, stranger)
    until_over(stage, lease["id"])
    assert stranger.alive
    stage.until_restored()


def test_the_root_cgroup_is_no_anchor(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(ANY))
    client = borrower()
    client.connect(stage)
    with pytest.raises(Refused) as refused:
        client.do("acquire", devices=[stage.machine.device("single")], anchor="cgroup")
    assert refused.value.reason is Reason.unsupported
    assert "root cgroup" in refused.value.message
    assert not stage.changes()


def test_revoking_ends_all_that_is_in_the_cgroup(raised: Raise, borrower: Start) -> None:
    """A forked child that holds the files as well, whatever became of the process that asked."""
    stage = raised(rules=rules(CGROUP, 'revoke = { ask = "200ms", then = "kill" }'))
    client, neighbour = within(stage, borrower()), borrower()
    neighbour.connect(stage)
    lease = client.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd")
    client.do("use", what="bind")
    client.do("disconnect")
    client.do("ignore_sigterm")
    client.do("leave_a_child")
    client.kill()
    revoke(stage, lease["id"])
    stage.daemon.wait_for("lease.ended_peer", lease["id"], f"all of {SCOPE}")
    stage.until_restored()
    assert neighbour.alive


def test_a_lost_reply_of_a_lease_without_a_hold(raised: Raise, borrower: Start) -> None:
    """Nobody could be told, so nobody has it: it ends, though its cgroup stands."""
    stage = raised(rules=rules(CGROUP))
    client = within(stage, borrower())
    client.do("disconnect")
    child = client.do("leave_a_child")
    client.connect(stage)
    single = stage.machine.device("single")
    said = len(stage.daemon.log)
    with faults.hang(stage.machine.root, "bind", single):
        client.do("ask", devices=[single], hand_over="iommufd")
        stage.daemon.until(lambda: stage.lease_count() == 1, "not begun")
        client.kill()
        stage.until_noticed()
    stage.daemon.wait_for("lease.draining", after=said)
    stage.until_restored()
    os.kill(child, signal.SIGKILL)
