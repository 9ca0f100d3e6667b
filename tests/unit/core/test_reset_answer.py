"""The answer to "may it be hot-reset?": its words, and that it is the kernel's verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from isod.core.reset_answer import Owner, answer, answer_all, lease_reset, obstacle
from isod.core.reset_set import ResetSets
from isod.core.reset_table import verdict
from isod.model.address import Address
from isod.model.host import VFIO_PCI, Device, HostSnapshot
from isod.model.lease import Lease, LeaseDevice
from isod.model.reset import Claim, LeaseReset, MemberState, ResetAnswer
from isod.model.step import GroupName, HandOver, OpenGroup
from isod.model.terms import Terms

from .build import OWNER, at, bridge, device, host


def port(short: str, below: str) -> Device:
    return replace(bridge(short, None), secondary_bus=f"0000:{below}")


def two(group: int, other_group: int, driver: str | None = VFIO_PCI, **facts: Any) -> HostSnapshot:
    """Two functions of one bus, the first on vfio-pci, in one group or two."""
    return host(
        port("00:01.0", "01"),
        device("01:00.0", group, VFIO_PCI),
        device("01:00.1", other_group, driver, **facts),
    )


def ask(
    snapshot: HostSnapshot,
    *groups: int,
    hand_over: HandOver = "iommufd",
    opened: bool = False,
    short: str = "01:00.0",
    to_bind: Collection[Address] = (),
) -> ResetAnswer:
    owner = Owner(hand_over, frozenset(groups), opened, frozenset(to_bind))
    return answer(ResetSets(snapshot), snapshot.devices[at(short)], owner)


# --- in words -----------------------------------------------------------------------------------


def test_on_iommufd_the_client_must_have_bound_a_device_of_the_group() -> None:
    found = ask(two(12, 12), 12)
    assert (found.hot, found.bind_groups, found.blocked_by) == ("permitted_when", (12,), ())
    assert found.when == "one device of group 12 is bound to the lease's iommufd"


def test_with_several_groups_it_must_have_bound_one_of_each() -> None:
    found = ask(two(12, 13), 12, 13)
    assert found.bind_groups == (12, 13)
    assert (
        found.when == "one device of each of the groups 12 and 13 is bound to the lease's iommufd"
    )


def test_a_group_of_others_is_named_and_its_devices_are_in_the_way() -> None:
    found = ask(two(12, 13), 12)
    assert found.hot == "permitted_when"
    assert found.when is not None
    assert found.when.endswith("; group 13 is not part of this lease")
    assert found.blocked_by == (at("01:00.1"),)


def test_on_groups_it_says_which_fds_to_pass() -> None:
    found = ask(two(12, 13), 12, 13, hand_over="group", opened=True)
    assert (found.hot, found.pass_groups) == ("permitted_now", (12, 13))
    assert found.when == "the fds of groups 12 and 13 are passed"
    assert ask(two(12, 12), 12, hand_over="nodes").hot == "permitted_when"
    assert ask(two(12, 13), 12, hand_over="group", opened=True).hot == "permitted_when"


def test_a_sibling_on_no_driver_forbids_it_until_it_is_bound() -> None:
    snapshot = two(12, 12, None)
    found = ask(snapshot, 12)
    assert (found.hot, found.why) == ("never", "01:00.1 is on no driver")
    assert found.blocked_by == (at("01:00.1"),)
    assert ask(snapshot, 12, to_bind=[at("01:00.1")]).hot == "permitted_when"


def test_drivers_bridges_and_virtual_functions_forbid_it_and_are_named() -> None:
    assert ask(two(12, 13, "e1000"), 12).why == "01:00.1 is used by e1000"
    assert ask(two(12, 12, "pci-stub"), 12).why == "01:00.1 is used by pci-stub"
    virtual = two(12, 13, physical_function=at("01:00.0"))
    assert ask(virtual, 12).why == "01:00.1 is a virtual function"
    assert ask(virtual, 13, short="01:00.1").why == "01:00.1 is a virtual function"
    beside = host(port("00:01.0", "01"), device("01:00.0", 1, VFIO_PCI), port("01:01.0", "02"))
    assert ask(beside, 1).why == "the bridge 01:01.0 is in its set"
    without = host(port("00:01.0", "01"), device("01:00.0", None, "e1000e"))
    assert ask(without).why == "01:00.0 has no IOMMU group"
    hotplug = replace(port("00:01.0", "01"), hotplug_driver="pciehp")
    far = host(hotplug, device("01:00.0", 1, VFIO_PCI), device("01:01.0", 1, VFIO_PCI))
    old = replace(far, features=replace(far.features, kernel="6.12.95"))
    assert ask(old, 1, short="01:01.0").why == "01:00.0 is not reset together with it"


def test_what_has_no_set_is_never_hot_reset() -> None:
    snapshot = host(device("00:02.0", 1, VFIO_PCI))
    assert ask(snapshot, 1, short="00:02.0") == ResetAnswer(
        hot="never", why="neither its slot nor its bus can be reset"
    )


def test_many_obstacles_are_told_in_few_words() -> None:
    functions = [device(f"01:00.{number}", 2, "igb") for number in range(1, 8)]
    found = ask(host(port("00:01.0", "01"), device("01:00.0", 1, VFIO_PCI), *functions), 1)
    assert found.why is not None
    assert found.why.endswith("01:00.3 is used by igb; and 4 more")
    assert len(found.blocked_by) == 7


# --- for a lease --------------------------------------------------------------------------------


def leased(snapshot: HostSnapshot, *shorts: str, opened: bool | None = None) -> LeaseReset:
    devices = tuple(
        LeaseDevice(at(short), 1, snapshot.devices[at(short)].group or 0, "requested")
        for short in shorts
    )
    groups = tuple(GroupName(number, 1) for number in sorted({d.group for d in devices}))
    hand_over: HandOver = "iommufd" if opened is None else "group"
    plan = () if opened is None else (OpenGroup(groups, (), ready=opened),)
    lease = Lease("L1", "", OWNER, "rule", hand_over, Terms(), devices, groups, plan)
    return lease_reset(ResetSets(snapshot), lease)


def several() -> HostSnapshot:
    return host(
        port("00:01.0", "01"),
        device("01:00.0", 12, VFIO_PCI),
        device("01:00.1", 12, VFIO_PCI),
        port("00:02.0", "02"),
        device("02:00.0", 13, VFIO_PCI),
        device("00:03.0", 14, VFIO_PCI),
    )


def test_devices_of_one_set_are_answered_once() -> None:
    found = leased(several(), "01:00.0", "01:00.1")
    assert [(s.by, s.devices, s.hits) for s in found.sets] == [
        ("bus", (at("01:00.0"), at("01:00.1")), (at("01:00.0"), at("01:00.1")))
    ]
    assert (found.hot, found.when) == ("permitted_when", found.sets[0].when)


def test_a_lease_over_several_sets_has_the_worst_answer_and_all_of_them() -> None:
    found = leased(several(), "01:00.0", "02:00.0")
    assert (found.hot, found.bind_groups) == ("permitted_when", (12, 13))
    worst = leased(several(), "02:00.0", "00:03.0")
    assert (worst.hot, worst.when, worst.bind_groups) == ("never", None, ())
    assert [one.hot for one in worst.sets] == ["permitted_when", "never"]


def test_groups_that_were_handed_over_open_can_be_reset_now() -> None:
    assert leased(several(), "01:00.0", opened=True).hot == "permitted_now"
    assert leased(several(), "01:00.0", opened=False).hot == "permitted_when"


def test_a_lease_whose_devices_are_gone_has_nothing_to_reset() -> None:
    empty = host()
    lease = Lease(
        "L1", "", OWNER, "rule", "iommufd", Terms(),
        (LeaseDevice(at("01:00.0"), 1, 12, "requested"),), (), (),
    )  # fmt: skip
    assert lease_reset(ResetSets(empty), lease) == LeaseReset(hot="never")


def test_the_reply_can_be_read_by_a_client() -> None:
    text = leased(several(), "01:00.0").model_dump(mode="json")
    assert text["blocked_by"] == []
    assert text["sets"][0]["devices"] == ["pci:0000:01:00.0"]
    assert LeaseReset.model_validate(text) == leased(several(), "01:00.0")


# --- against the table --------------------------------------------------------------------------

DRIVERS = st.sampled_from([VFIO_PCI, VFIO_PCI, VFIO_PCI, VFIO_PCI, None, "igb", "pci-stub"])
Use = Literal["here", "elsewhere", "group", "idle"]


@dataclass(frozen=True)
class Client:
    """What isod cannot see: how each group is used, whose fds are passed, who opened a cdev."""

    uses: Mapping[int, Use]
    passed: frozenset[int]
    opened: frozenset[Address]
    bound: frozenset[Address]


@st.composite
def hosts(draw: st.DrawFn) -> HostSnapshot:
    """A bus with up to eight functions, some virtual, some in slots; maybe a bridge and a bus
    below. Functions of one group keep one driver, so that the group can be owned or not."""
    drivers = {group: draw(DRIVERS) for group in range(1, 5)}

    def function(short: str) -> Device:
        group = draw(st.integers(1, 4))
        odd = draw(st.integers(0, 9))
        virtual = odd == 0 and not short.endswith("00.0")
        return device(
            short,
            group,
            draw(st.sampled_from([drivers[group]] * 8 + [None])),
            physical_function=at("01:00.0") if virtual else None,
        )

    places = draw(st.lists(st.integers(0, 15), min_size=1, max_size=6, unique=True))
    found = [function(f"01:0{place // 8}.{place % 8}") for place in places]
    if draw(st.integers(0, 4)) == 0:
        found += [port("01:01.0", "02"), function("02:00.0")]
    if draw(st.integers(0, 9)) > 0:
        hotplug = draw(st.sampled_from(["pciehp", None]))
        found.append(replace(port("00:01.0", "01"), hotplug_driver=hotplug))
    release = draw(st.sampled_from(["6.12.95", "7.2.12"]))
    snapshot = host(*found)
    return replace(snapshot, features=replace(snapshot.features, kernel=release))


@st.composite
def clients(draw: st.DrawFn, snapshot: HostSnapshot, caller: Device, cdev: bool) -> Client:
    functions = [one for one in snapshot.devices.values() if one.on_vfio]
    groups = {one.group for one in functions if one.group is not None}
    uses: dict[int, Use] = {
        group: draw(
            st.sampled_from(
                ["here", "elsewhere", "group", "idle"] if cdev else ["elsewhere", "group", "idle"]
            )
        )
        for group in sorted(groups)
    }
    assert caller.group is not None
    uses[caller.group] = "here" if cdev else "group"
    passed: set[int] = set()
    if not cdev:
        possible = [group for group, use in uses.items() if use != "elsewhere"]
        passed = set(draw(st.lists(st.sampled_from(possible), unique=True)))
    opened = frozenset(one.address for one in functions if draw(st.booleans()))
    bound = frozenset(one.address for one in functions if draw(st.booleans())) | {caller.address}
    return Client(uses, frozenset(passed), opened, bound)


def state_of(
    member: Device, own_set: str, sets: ResetSets, caller: Device, client: Client
) -> MemberState:
    seen = obstacle(member, own_set, sets)
    if seen is not None:
        return seen
    assert member.group is not None
    use = client.uses[member.group]
    if use == "group":
        mine = member.group == caller.group
        return MemberState.group_opened if mine else MemberState.group_elsewhere
    if member.address in client.bound and use in ("here", "elsewhere"):
        return MemberState.bound_here if use == "here" else MemberState.bound_elsewhere
    return MemberState.unbound_cdev if member.address in client.opened else MemberState.not_open


def true_groups(client: Client, snapshot: HostSnapshot) -> frozenset[int]:
    """The groups of which a device is bound to the caller's iommufd."""
    return frozenset(
        device.group
        for address in client.bound
        if (device := snapshot.devices[address]).group is not None
        and client.uses[device.group] == "here"
    )


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_answer_for_a_true_state_is_the_kernels_verdict(data: st.DataObject) -> None:
    snapshot = data.draw(hosts())
    callers = [one for one in snapshot.devices.values() if one.on_vfio]
    if not callers:
        return
    caller = data.draw(st.sampled_from(sorted(callers, key=lambda one: one.address)))
    cdev = data.draw(st.booleans())
    owned = data.draw(st.frozensets(st.integers(1, 4)))
    hand_over: HandOver = "iommufd" if cdev else data.draw(st.sampled_from(["group", "nodes"]))
    sets = ResetSets(snapshot)
    promised = answer(sets, caller, Owner(hand_over, owned, data.draw(st.booleans())))

    client = data.draw(clients(snapshot, caller, cdev))
    here = true_groups(client, snapshot)
    its_set = sets.of(caller.address)
    members = None
    if its_set is not None:
        members = []
        for address in its_set.members:
            member = snapshot.devices[address]
            state = state_of(member, sets.device_set(caller), sets, caller, client)
            if state is MemberState.kernel_driver and member.group in here:
                return  # a group with a kernel driver in it cannot be owned
            if cdev:
                claim = Claim.group_here if member.group in here else Claim.group_not_here
            else:
                claim = Claim.given if member.group in client.passed else Claim.withheld
            members.append((state, claim))
    ruled = verdict(members)
    assert promised.permits(here, client.passed) == (ruled == "permitted")
    if promised.hot == "permitted_now":
        assert verdict is not None
        assert promised.permits(here, promised.pass_groups)


def test_answers_for_unknown_devices_are_left_out() -> None:
    snapshot = several()
    found = answer_all(ResetSets(snapshot), [at("09:00.0")], Owner("iommufd", frozenset({1})))
    assert found.sets == ()
