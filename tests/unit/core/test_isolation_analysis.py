"""Why a group is as it is, what it is worth, and whom DMA reaches."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.model.policy import Policy, Quirk
from isod.model.survey import Acs, PortType
from isod.model.terms import What

from .build import at, device, host
from .surveyed import (
    ALL_ON,
    BEHIND_A_BRIDGE,
    SWITCH,
    TWO_FUNCTIONS,
    Surveyed,
    analysed,
    companion,
    dark,
    machine,
    of,
    plain,
    port,
    root_port,
)

ALONE = (root_port("00:02.0", 2), of(plain("02:00.0", 13, "00:02.0"), PortType.endpoint))


class TestBehindABridge:
    info = analysed(machine(*BEHIND_A_BRIDGE), "04:02.0")

    def test_the_iommu_cannot_tell_them_apart(self) -> None:
        assert self.info.granule.known
        assert self.info.granule.members == (at("04:01.0"), at("04:02.0"))
        assert self.info.granule.bridge == at("03:00.0")

    def test_the_group_has_the_granule_and_the_bridge(self) -> None:
        mate, bridge = companion(self.info, "04:01.0"), companion(self.info, "03:00.0")
        assert (mate.together, mate.by) == ("granule", at("03:00.0"))
        assert bridge.bridge
        assert bridge.reached is None

    def test_a_parked_sibling_is_reached_for_the_bridge_has_no_acs(self) -> None:
        mate = companion(self.info, "04:01.0")
        assert (mate.reached, mate.through, mate.why) == ("yes", at("03:00.0"), "has no ACS")

    def test_the_group_is_isolated_as_a_whole(self) -> None:
        assert self.info.isolation == "group"
        assert self.info.hint is None


class TestFunctions:
    info = analysed(machine(*TWO_FUNCTIONS), "01:00.0")

    def test_each_is_a_granule_of_its_own(self) -> None:
        assert self.info.granule.members == (at("01:00.0"),)

    def test_they_share_a_group_for_want_of_acs(self) -> None:
        other = companion(self.info, "01:00.1")
        assert (other.together, other.reached, other.through) == ("functions", "yes", at("01:00.0"))
        assert self.info.isolation == "group"


class TestAlone:
    def test_a_device_below_a_port_that_redirects_is_isolated(self) -> None:
        info = analysed(machine(*ALONE), "02:00.0")
        assert info.isolation == "device"
        assert [hop.redirects for hop in info.path] == ["yes", "yes"]
        assert info.path[1].on[0] == "source validation"

    def test_below_a_port_without_acs_it_is_the_group(self) -> None:
        bare = (root_port("00:02.0", 13, None), ALONE[1])
        info = analysed(machine(*bare), "02:00.0")
        assert info.isolation == "group"
        assert companion(info, "00:02.0").together == "port"

    def test_without_an_iommu_there_is_none(self) -> None:
        info = analysed(machine(of(plain("41:00.0", None), PortType.endpoint)), "41:00.0")
        assert (info.isolation, info.companions) == ("none", ())


class TestSwitch:
    def together(self, acs: Acs | None) -> tuple[Surveyed, ...]:
        """A switch of which the kernel has put everything into one group."""
        things = []
        for thing, facts in SWITCH:
            ported = facts is not None and facts.express is not None
            down = ported and facts.express.port is PortType.downstream_port  # type: ignore[union-attr]
            grouped = replace(thing, group=5)
            things.append(
                of(grouped, PortType.downstream_port, acs=acs) if down else (grouped, facts)
            )
        return (root_port("00:04.0", 5, None), *things[1:])

    def test_devices_below_two_ports_reach_each_other_at_the_first_open_port(self) -> None:
        info = analysed(machine(*self.together(None)), "07:00.0")
        other = companion(info, "08:00.0")
        assert (other.reached, other.through) == ("yes", at("00:04.0"))

    def test_a_missing_control_is_named(self) -> None:
        partly = Acs(capabilities=0x1D, control=0x19)
        things = list(SWITCH)
        things[2] = of(things[2][0], PortType.downstream_port, acs=partly)
        info = analysed(machine(*things), "07:00.0")
        (hop,) = [hop for hop in info.path if hop.redirects == "no"]
        assert hop.missing == ("request redirect",)


class TestUnknown:
    @pytest.mark.parametrize("things", [BEHIND_A_BRIDGE, TWO_FUNCTIONS, SWITCH, ALONE])
    def test_without_a_survey_nothing_is_isolated_and_nothing_is_out_of_reach(
        self, things: tuple[Surveyed, ...]
    ) -> None:
        snapshot = machine(*map(dark, things))
        for address in snapshot.devices:
            info = analysed(snapshot, address.short)
            assert info.isolation == "unknown"
            assert info.hint is not None
            assert address in info.unread
            for one in info.companions:
                assert one.reached in (None, "unknown")
                assert one.together == "unknown"

    def test_who_is_alone_in_a_group_is_alone_in_a_granule(self) -> None:
        assert analysed(machine(*map(dark, ALONE)), "02:00.0").granule.known
        assert not analysed(machine(*map(dark, TWO_FUNCTIONS)), "01:00.0").granule.known

    def test_a_port_that_was_not_read_makes_the_device_unknown(self) -> None:
        info = analysed(machine(dark(ALONE[0]), ALONE[1]), "02:00.0")
        assert info.isolation == "unknown"
        assert info.unread == (at("00:02.0"),)

    def test_a_device_that_came_after_the_survey_is_unknown(self) -> None:
        snapshot = machine(*ALONE)
        known = snapshot.devices[at("02:00.0")]
        newer = {**snapshot.devices, known.address: replace(known, generation=777)}
        assert analysed(replace(snapshot, devices=newer), "02:00.0").isolation == "unknown"

    def test_an_open_port_is_reached_whatever_else_is_unread(self) -> None:
        port_, one, other = TWO_FUNCTIONS
        info = analysed(machine(dark(port_), one, other), "01:00.0")
        assert companion(info, "01:00.1").reached == "yes"
        assert info.isolation == "unknown"

    def test_what_is_no_pci_device_is_unknown(self) -> None:
        mdev = device("00:01.0", 30)
        thing = replace(mdev, address=at("mdev:11111111-2222-3333-4444-555555555555"))
        info = analysed(host(thing), str(thing.address))
        assert (info.isolation, info.granule.known, info.path) == ("unknown", False, ())


class TestAgainstTheKernel:
    def test_groups_that_nothing_keeps_apart_are_doubtful(self) -> None:
        """An ACS override splits what hardware does not."""
        split = (
            root_port("00:02.0", 2, None),
            of(plain("02:00.0", 13, "00:02.0"), PortType.endpoint),
        )
        info = analysed(machine(*split), "02:00.0")
        assert info.isolation == "doubtful"
        assert info.apart == (at("00:02.0"),)

    def test_a_group_that_config_space_does_not_explain(self) -> None:
        things = (*ALONE, of(plain("03:00.0", 13, "00:02.0"), PortType.endpoint))
        info = analysed(machine(*things), "02:00.0")
        other = companion(info, "03:00.0")
        assert (other.together, other.reached) == ("unexplained", "unknown")
        assert info.isolation == "group"

    def test_the_policys_quirk_is_believed(self) -> None:
        second = (
            root_port("00:03.0", 3),
            of(plain("03:00.0", 20, "00:03.0"), PortType.endpoint),
        )
        both = (What(address="pci:0000:02:00.0"), What(address="pci:0000:03:00.0"))
        policy = Policy(quirks=(Quirk(name="faulty", devices=both),))
        info = analysed(machine(*ALONE, *second), "02:00.0", policy)
        other = companion(info, "03:00.0")
        assert (other.together, other.reached) == ("policy", "yes")


@given(st.integers(0, 2**32 - 1))
def test_knowing_less_never_isolates_more(seed: int) -> None:
    """Take config space away from any functions of any host: what was isolated may become
    unknown; nothing becomes isolated, or out of reach, by not being looked at."""
    draw = random.Random(seed)
    things = _random_host(draw)
    blind = [dark(one) if draw.random() < 0.4 else one for one in things]
    whole, part = machine(*things), machine(*blind)
    for address in whole.devices:
        known, less = analysed(whole, address.short), analysed(part, address.short)
        if less.isolation == "device":
            assert known.isolation == "device"
        if less.isolation == "group":
            assert known.isolation in ("group", "device", "doubtful")
        before = {one.address: one.reached for one in known.companions}
        for one in less.companions:
            assert one.reached in (before[one.address], "unknown")
        path = {hop.address: hop.redirects for hop in known.path}
        for hop in less.path:
            assert hop.redirects in (path[hop.address], "unknown")


def _random_host(draw: random.Random) -> list[Surveyed]:
    things: list[Surveyed] = []
    for index in range(draw.randint(1, 3)):
        root, bus = f"00:{index + 1:02x}.0", index * 16 + 1
        things.append(root_port(root, draw.randint(1, 4), draw.choice([None, ALL_ON])))
        above: tuple[str, ...] = (root,)
        if draw.random() < 0.5:
            kind = draw.choice([PortType.pci_bridge, PortType.upstream_port, None])
            name = f"{bus:02x}:00.0"
            things.append(of(port(name, draw.randint(1, 4), *above), kind))
            above, bus = (name, *above), bus + 1
        several = draw.random() < 0.5
        for function in range(1 + several):
            acs = draw.choice([None, ALL_ON])
            end = plain(f"{bus:02x}:00.{function}", draw.randint(1, 4), *above)
            things.append(of(end, draw.choice([PortType.endpoint, None]), several=several, acs=acs))
    return things
