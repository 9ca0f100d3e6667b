"""Quotas: per rule and user, over all, leases as such, and the holds of one."""

from __future__ import annotations

import pytest

from isod.core.quota import check_holds, check_quota
from isod.model.lease import Lease, LeaseDevice, Owner, State
from isod.model.policy import Limits, Rule
from isod.model.reason import Reason, RefusedError
from isod.model.request import LEASE_HOLDS
from isod.model.terms import Quota, Terms

from .build import ALICE, BOB, allow, at

TWO = allow(name="two", quota=Quota(devices=2, total=3))


def lease(uid: int, devices: int, rule: str = "two", state: State = State.leased) -> Lease:
    held = tuple(
        LeaseDevice(at(f"0{n}:00.0"), 1, n, "requested", rule=rule) for n in range(devices)
    )
    return Lease("L1", "s", Owner(uid, 1, 1), rule, "iommufd", Terms(), held, (), (), state)


def refused(*leases: Lease, asked: int = 1, limits: Limits | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        check_quota(leases, ALICE, [TWO] * asked, limits or Limits())
    assert caught.value.refusal.reason is Reason.quota
    return caught.value.refusal.message


def test_within_the_quota_nothing_is_said() -> None:
    check_quota([lease(ALICE.uid, 1)], ALICE, [TWO], Limits())


def test_a_user_has_a_share() -> None:
    assert "you have 2" in refused(lease(ALICE.uid, 2))
    assert "asked for 3 more" in refused(asked=3)


def remedy(*leases: Lease, rule: Rule, asked: int = 1, along: int = 0) -> tuple[str, str, bool]:
    """How the refusal says that it can be fixed, and who can; and whether trying again helps."""
    with pytest.raises(RefusedError) as caught:
        check_quota(leases, ALICE, [rule] * asked, Limits(), [rule] * along)
    found = caught.value.refusal
    assert found.reason is Reason.quota
    fixed_by = found.fixed_by or found.reason.fixed_by
    return found.hint or found.reason.hint, fixed_by, found.may_pass


def test_who_has_nothing_has_nothing_to_release() -> None:
    assert remedy(rule=TWO, asked=3) == ("ask for fewer devices", "you", False)
    single = allow(name="one", quota=Quota(devices=1))
    with pytest.raises(RefusedError, match="allows 1 device: you have 0, asked for 2 more"):
        check_quota([], ALICE, [single] * 2, Limits())


def test_who_has_something_may_release_it() -> None:
    release = ("release something first", "you", True)
    assert remedy(lease(ALICE.uid, 2), rule=TWO) == release
    total = allow(name="two", quota=Quota(total=3))
    assert remedy(lease(ALICE.uid, 1), lease(BOB.uid, 2), rule=total) == release
    assert remedy(lease(ALICE.uid, 1), rule=TWO, asked=3)[0] == "ask for fewer devices"


def test_what_others_have_others_must_release() -> None:
    later = "try again when others have released something"
    others = (later, "the other owners", True)
    assert remedy(lease(BOB.uid, 3), rule=TWO) == others
    assert remedy(lease(BOB.uid, 3), lease(ALICE.uid, 1), rule=TWO) == others
    fewer = remedy(lease(BOB.uid, 2), rule=TWO, asked=2)
    assert fewer == (f"ask for fewer devices, or {later}", "you", True)


def test_a_quota_of_nothing_only_an_administrator_can_raise() -> None:
    for quota in (Quota(devices=0), Quota(total=0)):
        none = allow(name="two", quota=quota)
        raised = ("raise the quota of the rule", "an administrator", False)
        assert remedy(rule=none) == remedy(lease(BOB.uid, 1), rule=none) == raised


def test_what_comes_along_counts_and_is_told_apart() -> None:
    single = allow(name="one", quota=Quota(devices=1))
    how, who, again = remedy(rule=single, along=1)
    assert (how, who, again) == (
        "raise the quota of the rule, or ask for fewer devices",
        "an administrator",
        False,
    )
    with pytest.raises(RefusedError, match="asked for 2 more with what comes along"):
        check_quota([], ALICE, [single], Limits(), [single])
    with pytest.raises(RefusedError, match="rule two allows 2 devices: you have 2"):
        check_quota([lease(ALICE.uid, 2)], ALICE, [single], Limits(), [TWO])


def test_the_leases_of_the_machine_are_everybodys_to_end() -> None:
    limits = Limits(leases=1)
    for owner, fixed_by in ((BOB.uid, "the other owners"), (ALICE.uid, "you")):
        with pytest.raises(RefusedError) as caught:
            check_quota([lease(owner, 0)], ALICE, [TWO], limits)
        assert caught.value.refusal.fixed_by == fixed_by


def test_draining_leases_count() -> None:
    assert "you have 2" in refused(lease(ALICE.uid, 2, state=State.draining))


def test_all_together_have_a_share() -> None:
    assert "all together have 3" in refused(lease(BOB.uid, 3))
    check_quota([lease(BOB.uid, 2)], ALICE, [TWO], Limits())


def test_another_rules_devices_do_not_count() -> None:
    check_quota([lease(ALICE.uid, 5, rule="other")], ALICE, [TWO], Limits())


def test_leases_are_bounded_per_user() -> None:
    limits = Limits(leases_per_uid=1)
    assert "1 leases" in refused(lease(ALICE.uid, 0), limits=limits)
    check_quota([lease(BOB.uid, 0)], ALICE, [TWO], limits)


def test_leases_are_bounded_for_the_machine() -> None:
    limits = Limits(leases=2)
    assert "the machine has 2 leases" in refused(
        lease(BOB.uid, 0), lease(BOB.uid, 0, state=State.draining), limits=limits
    )
    check_quota([lease(BOB.uid, 0)], ALICE, [TWO], limits)


def test_the_holds_of_a_lease_are_bounded() -> None:
    check_holds("L1", LEASE_HOLDS - 1)
    with pytest.raises(RefusedError, match="lease L1 has 4 open holds") as caught:
        check_holds("L1", LEASE_HOLDS)
    assert caught.value.refusal.reason is Reason.quota
    assert caught.value.refusal.hint == "close what an earlier open gave"
