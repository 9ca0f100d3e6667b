"""The host changes under a lease: devices go and come, others take them, quirks join owners."""

from __future__ import annotations

from typing import Any

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import outside
from isod.kernel.simulated.critical import need, need_no_more
from isod.model.reason import Reason

from .borrowers import Borrower
from .conftest import Raise, Start
from .machine import Binding
from .policy import EVERYTHING, NOTHING, rule
from .stage import Stage
from .test_admin import admins

pytestmark = pytest.mark.slow  # starts and ends many daemons

VFIO = Binding("vfio-pci", "vfio-pci")


def lease_of(client: Borrower, lease: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.do("call", method="lease.get", params={"lease": lease["id"]})
    assert isinstance(found["lease"], dict)
    return found["lease"]


def devices_of(client: Borrower, lease: dict[str, Any]) -> set[str]:
    return {one["address"] for one in lease_of(client, lease)["devices"]}


def test_a_sibling_that_is_pulled_and_put_back_is_parked_again(
    raised: Raise, borrower: Start
) -> None:
    stage = raised()
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[pair], hand_over="iommufd")
    outside.unplug(stage.machine.root, sibling)
    stage.daemon.wait_for("lease.device_gone", lease["id"])
    assert devices_of(client, lease) == {f"pci:{pair}"}
    outside.replug(stage.machine.root, sibling)
    stage.daemon.wait_for("lease.device_joined", lease["id"])
    assert devices_of(client, lease) == {f"pci:{pair}", f"pci:{sibling}"}
    assert stage.picture()[sibling] == VFIO
    states = {device.address.name: device.state for device in stage.control.devices()}
    assert states[sibling] == "parked"
    client.do("close")
    stage.until_restored()


def test_a_requested_device_goes_once_its_owner_lets_go_and_the_lease_goes_on(
    raised: Raise, borrower: Start
) -> None:
    """It comes back as another device, which nobody asked for."""
    stage = raised()
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[pair, single], hand_over="iommufd")
    assert not outside.unplug(stage.machine.root, pair)  # it waits for who has it open
    stage.daemon.wait_for("lease.held_outside", lease["id"], "no driver")
    held = {one["address"]: one["held_outside"] for one in lease_of(client, lease)["devices"]}
    assert held[f"pci:{pair}"] == "no driver"
    client.do("take", role="device", which=pair)
    client.do("close_taken")
    outside.wait_unbound(stage.machine.root, pair)
    stage.daemon.wait_for("lease.device_gone", lease["id"])
    assert lease_of(client, lease)["state"] == "leased"
    outside.replug(stage.machine.root, pair)
    stage.daemon.wait_for("lease.device_joined", lease["id"])
    whys = {one["address"]: one["why"] for one in lease_of(client, lease)["devices"]}
    assert whys[f"pci:{pair}"] == "sibling"
    client.do("close")
    stage.until_restored()


def revoking(then: str) -> str:
    return EVERYTHING + f'revoke = {{ ask = "1s", then = "{then}" }}\n'


def taken_away(stage: Stage, client: Borrower) -> dict[str, Any]:
    """A lease of two devices, of which one is unplugged while the client has both open."""
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    client.connect(stage)
    lease = client.do("acquire", devices=[pair, single], hand_over="iommufd")
    assert isinstance(lease, dict)
    client.do("use", what="bind")
    assert not outside.unplug(stage.machine.root, pair)
    stage.daemon.wait_for("lease.held_outside", lease["id"], "no driver: close it within 1 s")
    assert lease_of(client, lease)["leaving"] is not None
    return lease


def test_who_keeps_open_what_is_taken_away_is_ended_by_a_rule_that_kills(
    raised: Raise, borrower: Start
) -> None:
    stage = raised(rules=revoking("kill"))
    client = borrower()
    lease = taken_away(stage, client)
    stage.daemon.wait_for("lease.draining", lease["id"], "was not closed in time")
    stage.daemon.wait_for("lease.ended_peer", lease["id"])
    stage.daemon.wait_for("lease.ended", lease["id"])
    outside.replug(stage.machine.root, stage.machine.device("pair"))
    stage.until_restored()


def test_by_another_rule_it_is_reported_and_the_lease_goes_on(
    raised: Raise, borrower: Start
) -> None:
    stage = raised(rules=revoking("wait"))
    client = borrower()
    lease = taken_away(stage, client)
    stage.daemon.wait_for("lease.held_outside", lease["id"], "was not closed in time")
    assert lease_of(client, lease)["state"] == "leased"
    client.do("close")
    stage.daemon.wait_for("lease.ended", lease["id"])
    outside.replug(stage.machine.root, stage.machine.device("pair"))
    stage.until_restored()


def test_what_was_unbound_by_hand_and_is_closed_costs_nobody_the_rest(
    raised: Raise, borrower: Start
) -> None:
    """Its driver is gone, but the unbind has returned: the client had closed it before."""
    stage = raised(rules=revoking("kill"))
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[pair, single], hand_over="iommufd")
    client.do("take", role="device", which=pair)
    client.do("close_taken")
    assert outside.unbind_driver(stage.machine.root, pair)
    stage.daemon.wait_for("lease.held_outside", lease["id"], "close it within 1 s, or be ended")
    stage.daemon.until(lambda: lease_of(client, lease)["leaving"] is None, "not proven closed")
    assert lease_of(client, lease)["state"] == "leased"
    client.do("close")
    stage.until_restored()


def test_a_lease_ends_with_its_last_requested_device(raised: Raise, borrower: Start) -> None:
    stage = raised()
    single = stage.machine.device("single")
    client, other = borrower(), borrower()
    client.connect(stage)
    other.connect(stage)
    lease = client.do("acquire", devices=[single], hand_over="iommufd")
    outside.unplug(stage.machine.root, single)
    client.do("close")
    stage.daemon.wait_for("lease.ended", lease["id"])
    outside.replug(stage.machine.root, single)
    stage.daemon.until(
        lambda: single in {one.address.name for one in stage.control.devices()}, "not noticed"
    )
    other.do("acquire", devices=[single], hand_over="iommufd")
    other.do("close")
    stage.until_restored()


def test_what_may_not_be_parked_is_left_alone_and_told(raised: Raise, borrower: Start) -> None:
    """The policy that was loaded meanwhile denies it."""
    stage = raised()
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[pair], hand_over="iommufd")
    outside.unplug(stage.machine.root, sibling)
    stage.daemon.wait_for("lease.device_gone", lease["id"])
    deny = '[[rule]]\nname = "hands-off"\neffect = "deny"\nwho = "anyone"\n'
    stage.write_policy(NOTHING + deny + f'what = [{{ address = "pci:{sibling}" }}]\n' + rule())
    with admins(stage) as admin:
        admin.call("admin.reload")
    outside.replug(stage.machine.root, sibling)
    stage.daemon.wait_for("lease.conflict", lease["id"], "hands-off")
    assert devices_of(client, lease) == {f"pci:{pair}"}
    assert stage.picture()[sibling].driver == "e1000e"
    client.do("close")
    stage.until_restored()


def test_what_its_driver_was_still_setting_up_is_judged_again_and_parked(
    raised: Raise, borrower: Start
) -> None:
    """A network card has its driver before it has an interface, and looks taken meanwhile."""
    stage = raised()
    root, sibling = stage.machine.root, stage.machine.device("sibling")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
    outside.unplug(root, sibling)
    stage.daemon.wait_for("lease.device_gone", lease["id"])
    need(root, sibling, "another namespace", "is run by e1000e without a network interface")
    outside.replug(root, sibling)
    stage.daemon.wait_for("lease.conflict", lease["id"], "without a network interface")
    need_no_more(root, sibling)
    outside.write(root, sibling, "driver_override", "")  # whatever makes an event
    stage.daemon.wait_for("lease.device_joined", lease["id"])
    assert stage.picture()[sibling] == VFIO
    client.do("close")
    stage.until_restored()


def test_a_device_that_an_administrator_takes_is_reported_and_not_fought_over(
    raised: Raise, borrower: Start
) -> None:
    stage = raised()
    root, sibling = stage.machine.root, stage.machine.device("sibling")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
    outside.write(root, sibling, "driver_override", "")
    outside.unbind_driver(root, sibling)
    outside.bind_driver(root, sibling, "e1000e")
    stage.daemon.wait_for("lease.held_outside", lease["id"], "e1000e")
    held = {one["address"]: one["held_outside"] for one in lease_of(client, lease)["devices"]}
    assert held[f"pci:{sibling}"] == "e1000e"
    client.do("close")
    stage.until_restored()


def quirk(*devices: str) -> str:
    listed = ", ".join(f'{{ address = "pci:{device}" }}' for device in devices)
    return f'[[quirk]]\nname = "sudden"\ndevices = [{listed}]\n'


def reload(stage: Stage, text: str) -> None:
    stage.write_policy(text)
    with admins(stage) as admin:
        admin.call("admin.reload")


def test_a_quirk_that_joins_two_owners_takes_the_younger_one_back(
    raised: Raise, borrower: Start
) -> None:
    stage = raised()
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    behind = stage.machine.device("behind_bridge")
    older, younger, third = borrower(), borrower(), borrower()
    for client in (older, younger, third):
        client.connect(stage)
    first = older.do("acquire", devices=[single], hand_over="iommufd")
    second = younger.do("acquire", devices=[pair], hand_over="iommufd")
    reload(stage, EVERYTHING + quirk(single, pair, behind))
    for lease in (first, second):
        stage.daemon.wait_for("lease.conflict", lease["id"], "sudden")
    stage.daemon.wait_for("lease.revoking", second["id"])
    assert "sudden" in lease_of(older, first)["conflict"]
    assert not [
        line for line in stage.daemon.log if "lease.revoking" in line and first["id"] in line
    ]
    with pytest.raises(Refused) as refused:
        third.do("acquire", devices=[behind])
    assert refused.value.reason is Reason.group_busy

    younger.do("release")
    stage.daemon.wait_for("lease.ended", second["id"])
    stage.daemon.until(lambda: lease_of(older, first)["conflict"] is None, "not settled")
    older.do("close")
    stage.until_restored()


def test_quirks_that_join_what_one_lease_has_are_no_conflict(
    raised: Raise, borrower: Start
) -> None:
    stage = raised()
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[single, pair], hand_over="iommufd")
    reload(stage, EVERYTHING + quirk(single, pair))
    assert lease_of(client, lease)["conflict"] is None
    client.do("close")
    stage.until_restored()
