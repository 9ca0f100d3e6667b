"""Rule 8: the daemon's own limits stand in [limits]; who may use the admin socket in [admin]. What
they do is tested in tests/unit/daemon/test_limits.py and tests/walk/test_admin.py."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from isod.core.compile import compile_limits
from isod.core.match import administers
from isod.model.peer import Peer
from isod.model.policy import Limits, Policy, Who
from isod.model.policy_file import LimitsTable
from isod.model.request import LEASE_HOLDS

from .asking import faults, rule

ROOT = Path(__file__).parents[3]
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


def test_the_page_on_policies_shows_the_defaults_of_all_limits() -> None:
    page = (ROOT / "policy/README.md").read_text()
    table = page.partition("[limits]\nconnections")[2].partition("```")[0]
    shown = tomllib.loads(f"connections{table}")
    assert set(shown) == {field.name for field in fields(Limits)}
    assert compile_limits(LimitsTable.model_validate(shown)) == Limits()


def test_the_page_on_the_protocol_names_all_limits() -> None:
    page = (ROOT / "isod/wire/PROTOCOL.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| \S+ \|", page.partition("has `[limits]`")[2], re.MULTILINE)
    assert set(rows) == {field.name for field in fields(Limits)}


def test_one_packet_and_the_files_of_one_lease_fit_in_any_case() -> None:
    assert faults("[limits]\nbytes = 65536\n")
    assert faults("[limits]\nunread_fds = 249\n")
    assert not faults('[limits]\nbytes = "128KiB"\nunread_fds = 250\nread = "1s"\n')


def test_the_service_manager_has_a_place_for_every_hold_that_the_limits_allow() -> None:
    unit = (ROOT / "systemd/isod.service").read_text()
    places = re.search(r"^FileDescriptorStoreMax=(\d+)$", unit, re.MULTILINE)
    assert places is not None
    most = int(places[1]) // LEASE_HOLDS
    assert not faults(f"[limits]\nleases = {most}\n")
    assert faults(f"[limits]\nleases = {most + 1}\n")
    assert Limits().leases <= most
