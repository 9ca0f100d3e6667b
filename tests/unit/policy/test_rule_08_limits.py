"""Rule 8: the daemon's own limits stand in [limits]; who may use the admin socket in [admin]. What
they do is tested in tests/unit/daemon/test_limits.py and tests/walk/test_admin.py."""

from __future__ import annotations

from isod.core.match import administers
from isod.model.peer import Peer
from isod.model.policy import Limits, Policy, Who

from .asking import faults, rule

ROOTS = frozenset({0})


def on_admin_socket(uid: int, **more: object) -> Peer:
    return Peer(uid, uid, frozenset(), 1, verified=True, admin=True, unit=str(more.get("unit")))


def test_without_a_table_there_are_limits_all_the_same() -> None:
    limits = Policy().limits
    assert limits == Limits()
    assert limits.connections > limits.connections_per_uid > 0
    assert limits.hello > 0


def test_a_key_that_is_not_known_is_a_fault() -> None:
    assert faults("[limits]\nconections = 3\n") == (
        "50-test.toml: limits, conections: unknown key",
    )


def test_root_may_always_administer_and_nobody_else_unless_named() -> None:
    assert administers(Policy(), on_admin_socket(0), ROOTS)
    assert not administers(Policy(), on_admin_socket(1000), ROOTS)
    named = Policy(admins=(Who(uids=((1000, 1000),)),))
    assert administers(named, on_admin_socket(1000), ROOTS)
    assert not administers(named, on_admin_socket(1001), ROOTS)


def test_all_keys_of_a_table_count_for_administrators_as_well() -> None:
    policy = Policy(admins=(Who(uids=((1000, 1000),), units=("ops.service",)),))
    assert administers(policy, on_admin_socket(1000, unit="ops.service"), ROOTS)
    assert not administers(policy, on_admin_socket(1000, unit="x.service"), ROOTS)


def test_on_the_other_socket_nobody_is_an_administrator() -> None:
    policy = Policy(admins=(Who(uids=((1000, 1000),)),))
    for uid in (0, 1000):
        assert not administers(policy, Peer(uid, uid, frozenset(), 1), ROOTS)


def test_rules_stand_beside_both() -> None:
    assert not faults("[limits]\nrequests = 4\n", "[admin]\nwho = [{ uid = [7] }]\n", rule("x"))
