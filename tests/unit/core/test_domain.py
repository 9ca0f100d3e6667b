"""Reset domains: what shares a fate, and which grants that forbids."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isod.core.domain import Domains, check_domain
from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.core.reset_set import ResetSets
from isod.model.event import Granted
from isod.model.host import Device, HostSnapshot
from isod.model.reason import Reason, Refusal, RefusedError

from .build import ALICE, BOB, at, bridge, device, host, lease_for

MDEV = "mdev:11111111-1111-1111-1111-111111111111"
VFS = (at("01:10.0"), at("02:10.0"))


def card(driver: str | None, virtual: str | None = None, *, numvfs: int = 2) -> HostSnapshot:
    """A port with a card of two functions below, the first with virtual functions."""
    port = replace(bridge("00:05.0", 1), secondary_bus="0000:01")
    physical = device("01:00.0", 2, driver, virtual_functions=VFS[:numvfs])
    second = device("01:00.1", 3, "e1000e")
    functions = [
        device(short, group, virtual, physical_function=physical.address)
        for short, group in (("01:10.0", 4), ("02:10.0", 5))
    ]
    return host(port, physical, second, *functions[:numvfs])


def with_mdev(driver: str | None) -> HostSnapshot:
    gpu = device("03:00.0", 6, driver)
    return host(gpu, device(MDEV, 7, "vfio_mdev", parent=gpu.address, header_type=None))


def check(snapshot: HostSnapshot, short: str, ledger: Ledger | None = None) -> None:
    groups = Isolation(snapshot).groups_of([at(short)])
    check_domain(Domains(ResetSets(snapshot)), ledger or Ledger(), ALICE, groups)


def refused(snapshot: HostSnapshot, short: str, ledger: Ledger | None = None) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        check(snapshot, short, ledger)
    return caught.value.refusal


def leased(snapshot: HostSnapshot, short: str) -> Ledger:
    ledger = Ledger()
    ledger.apply(Granted(lease_for(snapshot, "L1", [at(short)], None, 8)))
    return ledger


def domain(snapshot: HostSnapshot, short: str) -> list[str]:
    return [address.short for address in Domains(ResetSets(snapshot)).of([at(short)])]


def test_a_card_its_virtual_functions_and_its_bus_share_a_fate() -> None:
    everything = ["01:00.0", "01:00.1", "01:10.0", "02:10.0"]
    for short in everything:
        assert domain(card("igb"), short) == everything
    assert domain(card("igb"), "00:05.0") == ["00:05.0"]


def test_an_mdev_and_its_parent_share_a_fate() -> None:
    assert domain(with_mdev("i915"), "03:00.0") == domain(with_mdev("i915"), MDEV)
    assert domain(with_mdev("i915"), MDEV) == [MDEV, "03:00.0"]


def test_what_hangs_below_an_endpoint_goes_with_it() -> None:
    controller = device("00:0e.0", 1, "vmd", device_class="010400")
    disk = device("10000:e1:00.0", 1, "nvme", bridges=(at("10000:e0:00.0"), at("00:0e.0")))
    snapshot = host(controller, disk, device("02:00.0", 9))
    assert at("10000:e1:00.0") in Domains(ResetSets(snapshot)).of([at("00:0e.0")])
    assert at("02:00.0") not in Domains(ResetSets(snapshot)).of([at("00:0e.0")])
    refusal = refused(snapshot, "00:0e.0")
    assert (refusal.fixed_by, refusal.may_pass) == ("you", False)
    assert refusal.message == "taking 00:0e.0 would remove its devices: pci:10000:e1:00.0" or (
        refusal.message.endswith("10000:e1:00.0")
    )


def test_a_bridge_is_nobodys_parent() -> None:
    check(card("igb", "igbvf"), "01:00.1")


class TestPhysicalFunction:
    """Whoever has the virtual ones: they go with the physical one's driver, or with its fence."""

    @pytest.mark.parametrize("driver", ["igb", "vfio-pci", None])
    @pytest.mark.parametrize("virtual", ["igbvf", "vfio-pci", None])
    def test_with_virtual_functions_it_is_not_given_out(
        self, driver: str | None, virtual: str | None
    ) -> None:
        refusal = refused(card(driver, virtual), "01:00.0")
        assert refusal.reason is Reason.reset_domain_shared
        assert refusal.message == (
            "taking 01:00.0 would remove its virtual functions: 01:10.0, 02:10.0"
        )
        assert refusal.hint == "set sriov_numvfs to 0 first"
        assert (refusal.fixed_by, refusal.may_pass) == ("an administrator", False)

    def test_the_owner_of_a_virtual_one_is_told_as_holder(self) -> None:
        refusal = refused(card("igb"), "01:00.0", leased(card("igb"), "02:10.0"))
        assert refusal.reason is Reason.reset_domain_shared
        assert refusal.details["holder"] == {
            "yours": True,
            "lease": "L1",
            "uid": ALICE.uid,
            "since": 0.0,
        }

    def test_nobody_learns_whose_the_virtual_one_is(self) -> None:
        ledger = leased(card("igb"), "02:10.0")
        groups = Isolation(card("igb")).groups_of([at("01:00.0")])
        with pytest.raises(RefusedError) as caught:
            check_domain(Domains(ResetSets(card("igb"))), ledger, BOB, groups)
        assert caught.value.refusal.details["holder"] == {"yours": False}

    def test_without_virtual_functions_it_is_given_out(self) -> None:
        check(card("igb", numvfs=0), "01:00.0")

    def test_parked_as_a_sibling_it_would_be_fenced_as_well(self) -> None:
        snapshot = card("vfio-pci")
        joined = {**snapshot.devices}
        joined[at("01:00.1")] = replace(joined[at("01:00.1")], group=2)
        together = host(*joined.values())
        assert refused(together, "01:00.1").reason is Reason.reset_domain_shared


class TestVirtualFunction:
    """It is made to be given out; but its physical one must not be another owner's."""

    @pytest.mark.parametrize("driver", ["igb", None])
    def test_it_is_given_out_below_a_kernel_driver_or_none(self, driver: str | None) -> None:
        check(card(driver, "igbvf"), "01:10.0")

    def test_another_one_of_the_card_may_be_anybodys(self) -> None:
        check(card("igb"), "01:10.0", leased(card("igb"), "02:10.0"))

    def test_what_shares_its_bus_may_be_anybodys(self) -> None:
        check(card("igb"), "01:10.0", leased(card("igb"), "01:00.1"))
        check(card("igb"), "01:00.1", leased(card("igb"), "01:10.0"))

    def test_the_physical_one_is_leased(self) -> None:
        """They were made while it was leased: at its grant there must have been none."""
        ledger = leased(card("igb", numvfs=0), "01:00.0")
        refusal = refused(card("vfio-pci"), "01:10.0", ledger)
        assert refusal.reason is Reason.reset_domain_shared
        assert refusal.message == "01:10.0 goes away with 01:00.0, which is preparing"
        assert (refusal.hint, refusal.fixed_by) == ("end that lease first", "you")

    def test_whose_physical_one_is_anothers_has_to_wait_for_it(self) -> None:
        ledger = leased(card("igb", numvfs=0), "01:00.0")
        groups = Isolation(card("igb")).groups_of([at("01:10.0")])
        with pytest.raises(RefusedError) as caught:
            check_domain(Domains(ResetSets(card("vfio-pci"))), ledger, BOB, groups)
        refusal = caught.value.refusal
        assert refusal.hint == "try again when that lease has ended"
        assert refusal.fixed_by is None
        assert refusal.may_pass

    def test_the_physical_one_is_on_vfio_and_nobodys(self) -> None:
        refusal = refused(card("vfio-pci"), "01:10.0")
        assert refusal.reason is Reason.unsupported
        assert refusal.message == "01:10.0 needs a VF token while 01:00.0 is on vfio-pci"


class TestMediatedDevice:
    @pytest.mark.parametrize("driver", ["i915", "vfio-pci"])
    def test_its_parent_is_not_given_out(self, driver: str) -> None:
        refusal = refused(with_mdev(driver), "03:00.0")
        assert refusal.reason is Reason.reset_domain_shared
        assert refusal.message == f"taking 03:00.0 would remove its mediated devices: {MDEV}"

    def test_its_parent_is_leased(self) -> None:
        parent = device("03:00.0", 6, "i915")
        ledger = leased(host(parent), "03:00.0")
        assert refused(with_mdev("i915"), MDEV, ledger).reason is Reason.reset_domain_shared

    def test_its_parent_is_the_hosts(self) -> None:
        check(with_mdev("i915"), MDEV)


def test_a_parent_that_is_not_seen_is_nobodys() -> None:
    lonely: Device = device("01:10.0", 4, physical_function=at("01:00.0"))
    check(host(lonely), "01:10.0")
    assert domain(host(lonely), "01:10.0") == ["01:00.0", "01:10.0"]
