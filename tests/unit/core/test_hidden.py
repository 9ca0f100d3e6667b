"""Which rules can never decide: each as a sentence, and never a wrong word about a live one."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isod.core.hidden import hidden_rules
from isod.core.match import first_match
from isod.model.peer import Peer
from isod.model.policy import Policy, Pool, Rule, Who
from isod.model.terms import Terms, What

from .build import allow, deny, device, exactly

ALICE = Who(uids=((1000, 1000),))
USERS = Who(uids=((1000, 1999),))


def hides(earlier: Rule, later: Rule, *pools: Pool) -> bool:
    policy = Policy((earlier, later), pools=MappingProxyType({pool.name: pool for pool in pools}))
    return list(hidden_rules(policy)) == [(later, earlier)]


def test_a_deny_of_everything_hides_all_that_follows() -> None:
    assert hides(deny(), allow(exactly("01:00.0"), name="one"))
    assert hides(deny(), allow(What(noiommu=True), name="one"))


def test_an_allow_of_anything_does_not_hide_devices_without_an_iommu() -> None:
    assert hides(allow(name="all"), allow(What(vendor="8086"), name="one"))
    assert not hides(allow(name="all"), allow(What(noiommu=True), name="one"))
    assert not hides(allow(name="all"), deny(name="one")), "a deny of anything reaches them"


def test_a_rule_for_some_does_not_hide_one_for_all() -> None:
    assert not hides(allow(who=[ALICE]), allow(name="one"))
    assert hides(allow(who=[USERS]), allow(name="one", who=[ALICE]))
    assert not hides(allow(who=[ALICE]), allow(name="one", who=[USERS]))
    assert not hides(allow(who=[Who(gids=((50, 50),))]), allow(name="one", who=[ALICE]))


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        (What(vendor="8086"), What(vendor="8086", device="10d3")),
        (What(device_class="02"), What(device_class="0200")),
        (What(address="pci:0000:01:*"), What(address="pci:0000:01:00.0", exact=True)),
        (What(address="pci:*"), What(address="pci:0000:*")),
        (What(slots=("1", "2")), What(slots=("2",))),
        (What(numa_nodes=(0, 1)), What(numa_nodes=(1,), vendor="8086")),
        (What(pool="nics"), What(pool="nics", slots=("1",))),
        (What(vendor="8086"), What(pool="nics")),
        (What(pool="nics"), What(vendor="8086", device_class="0200")),
    ],
)
def test_a_wider_table_hides_a_narrower_and_not_the_reverse(wider: What, narrower: What) -> None:
    nics = Pool("nics", (What(vendor="8086", device_class="02"),))
    assert hides(allow(wider), allow(narrower, name="one"), nics)
    assert not hides(allow(narrower), allow(wider, name="one"), nics)


def test_patterns_that_differ_are_not_judged() -> None:
    assert not hides(allow(What(address="pci:*:00.0")), allow(What(address="pci:0*:00.0")))


def test_two_rules_that_hide_a_third_together_are_not_noticed() -> None:
    policy = Policy(
        (
            deny(What(slots=("1",)), name="a"),
            deny(What(slots=("2",)), name="b"),
            allow(What(slots=("1", "2")), name="c"),
        )
    )
    assert list(hidden_rules(policy)) == []


_IDS = st.sampled_from([None, ((1000, 1000),), ((1000, 1001),), ((1001, 1001),), ()])
_WHO = st.builds(
    Who,
    uids=_IDS,
    groups=st.sampled_from([None, ((50, 50),), ()]),
    gids=st.sampled_from([None, ((50, 50),), ((50, 60),)]),
    units=st.sampled_from([None, ("a.service",), ("a.service", "b.service")]),
    cgroups=st.sampled_from([None, ("x*",), ("x/y",), ("*",), ("x?y",)]),
)
_WHAT = st.one_of(
    st.builds(
        What,
        address=st.sampled_from([None, "pci:0000:01:*", "pci:*", "pci:*.0"]),
        vendor=st.sampled_from([None, "8086", "10de"]),
        device_class=st.sampled_from([None, "02", "0200", "03"]),
        slots=st.sampled_from([None, ("1",), ("1", "2")]),
        pool=st.sampled_from([None, "p", "q"]),
        noiommu=st.sampled_from([None, False, True]),
    ),
    st.sampled_from([exactly("01:00.0"), exactly("01:00.1")]),
)
_TABLES = st.lists(_WHAT, min_size=1, max_size=2).map(tuple)
_RULES = st.lists(
    st.tuples(
        st.booleans(),
        st.none() | st.lists(_WHO, min_size=1, max_size=2).map(tuple),
        st.none() | _TABLES,
    ),
    min_size=2,
    max_size=4,
)
_PEERS = [
    Peer(uid, 7, frozenset(groups), 1, unit=unit, cgroup=cgroup)
    for uid in (1000, 1001)
    for groups in ((), (50,), (60,))
    for unit in (None, "a.service", "b.service")
    for cgroup in (None, "/x/y", "/x/z", "/q")
]
_DEVICES = [
    device(short, group, vendor=vendor, device_class=code, slot=slot)
    for short in ("01:00.0", "01:00.1", "02:00.0")
    for group in (1, None)
    for vendor, code in (("8086", "020000"), ("8086", "030000"), ("10de", "020000"))
    for slot in (None, "1", "2")
]


@settings(max_examples=120, deadline=None)
@given(_RULES, _TABLES)
def test_a_rule_that_is_told_hidden_decides_about_nobody(
    rules: list[tuple[bool, tuple[Who, ...] | None, tuple[What, ...] | None]],
    pool: tuple[What, ...],
) -> None:
    tables = tuple(What(vendor=what.vendor, device_class=what.device_class) for what in pool)
    policy = Policy(
        tuple(
            Rule(f"r{place}", may, who, what, Terms(), "x.toml")
            for place, (may, who, what) in enumerate(rules)
        ),
        pools=MappingProxyType({"p": Pool("p", tables)}),
    )
    hidden = {rule.name for rule, _ in hidden_rules(policy)}
    if hidden:
        deciding = {
            rule.name
            for peer in _PEERS
            for one in _DEVICES
            if (rule := first_match(policy, peer, one)) is not None
        }
        assert not hidden & deciding
