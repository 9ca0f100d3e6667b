"""What is given to nobody after a way back that went wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isod.core.distrust import after_return, open_to_its_owner
from isod.core.ledger import Ledger
from isod.core.plan import steps_to_drain
from isod.model.address import Address
from isod.model.effect import Announce, Effect, Forget, Quarantine
from isod.model.event import Ending, Fenced, Granted, Idle, Prepared, Returned
from isod.model.lease import Lease
from isod.model.reason import Reason, Refusal
from isod.model.step import GrantNodes, GroupName, RevokeNodes

from .build import at, device, host, lease_for

HOST = host(
    device("01:00.0", 1, "nvme"), device("01:00.1", 1, "e1000e"), device("02:00.0", 2, "nvme")
)


def lease(**terms: Any) -> Lease:
    return lease_for(HOST, "L1", [at("01:00.0"), at("02:00.0")], None, 8, **terms)


def failed(step: str, message: str = "no luck") -> Refusal:
    return Refusal(Reason.kernel, message, {"step": step})


def returned(*problems: tuple[Address, Refusal], **terms: Any) -> tuple[Effect, ...]:
    """What the ledger makes of the end of a way back."""
    ledger, given = Ledger(), lease(**terms)
    for event in (
        Granted(given),
        Prepared("L1", (), given.devices),
        Ending("L1", "released"),
        Idle("L1"),
        Fenced("L1"),
    ):
        ledger.apply(event)
    return ledger.apply(Returned("L1", problems))


def test_what_did_not_go_back_to_its_driver_is_in_quarantine_before_its_group_is_free() -> None:
    effects = returned((at("01:00.0"), failed("restore")))
    [quarantine] = [one for one in effects if isinstance(one, Quarantine)]
    assert [(entry.address.short, entry.why) for entry in quarantine.entries] == [
        ("01:00.0", "did not go back to nvme after lease L1: no luck")
    ]
    kinds = [one.kind for one in effects if isinstance(one, Announce)]
    assert kinds == ["device.stranded", "lease.ended"]
    [forget] = [one for one in effects if isinstance(one, Forget)]
    assert effects.index(quarantine) < effects.index(forget)


def test_what_came_back_is_not_distrusted() -> None:
    assert not [one for one in returned() if isinstance(one, Quarantine)]


def test_all_that_is_wrong_with_a_device_is_said_at_once() -> None:
    given = replace(lease(scrub="require"), ever_leased=True)
    problems = [
        (at("01:00.0"), failed("reset", "it is silent")),
        (at("02:00.0"), failed("restore")),
        (at("01:00.0"), failed("restore")),
    ]
    found = {entry.address.short: entry.why for entry in after_return(given, problems)}
    assert found == {
        "01:00.0": "not scrubbed after lease L1: it is silent; "
        "did not go back to nvme after lease L1: no luck",
        "02:00.0": "did not go back to nvme after lease L1: no luck",
    }


def test_a_node_that_stays_open_to_its_owner_keeps_its_group_and_no_other() -> None:
    groups = (GroupName(1, 9001), GroupName(2, 9002))
    given = replace(lease(), plan=(GrantNodes(groups, 1000),))
    first, second = steps_to_drain(given, 1, None)
    assert (first, second) == (RevokeNodes(groups[:1], 1000), RevokeNodes(groups[1:], 1000))
    assert isinstance(first, RevokeNodes)
    found = open_to_its_owner(given, first, failed("revoke_nodes"))
    assert [entry.address.short for entry in found] == ["01:00.0", "01:00.1"]
    assert {entry.why for entry in found} == {
        "its node may be open still to user 1000 of lease L1: no luck"
    }
