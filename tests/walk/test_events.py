"""Subscribers of events: what they see, in which order, and that none is left out in silence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import outside
from isod.model.reason import Reason

from .borrowers import OTHER_UID, UID
from .conftest import Raise, Start
from .line import Line
from .policy import NOTHING
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

CYCLE = ["lease.granted", "lease.draining", "lease.ended"]


class Subscriber:
    """A raw connection that has subscribed."""

    def __init__(self, stage: Stage, *, admin: bool = False, **params: object) -> None:
        folder = stage.socket.parent
        self.line = Line(folder / "admin" / "admin.sock" if admin else stage.socket)
        self.start = self.line.ask("events.subscribe", **params)["result"]

    def next(self) -> Any:
        received = self.line.receive()
        assert received is not None
        event, _ = received
        assert event["method"] == "event"
        assert event["params"]["subscription"] == self.start["subscription"]
        return event["params"]

    def until(self, kind: str, true: Callable[[Any], bool] = lambda event: True) -> list[Any]:
        """All events up to one of this kind."""
        found = [self.next()]
        while found[-1]["kind"] != kind or not true(found[-1]):
            found.append(self.next())
        return found

    def close(self) -> None:
        self.line.close()


def cycle(stage: Stage, shape: Any = "single") -> str:
    """A lease from its grant to its end."""
    said = len(stage.daemon.log)
    lease = stage.control.acquire([stage.machine.device(shape)])
    lease.release()
    stage.daemon.wait_for("lease.ended", f"lease={lease.id} ", after=said)
    return lease.id


def test_a_lease_is_followed_from_grant_to_end(stage: Stage) -> None:
    with closing(Subscriber(stage, kinds=["lease"])) as mine:
        first, second = cycle(stage), cycle(stage)
        events = mine.until("lease.ended") + mine.until("lease.ended")
    assert [(event["lease"], event["kind"]) for event in events] == [
        *((first, kind) for kind in CYCLE),
        *((second, kind) for kind in CYCLE),
    ]
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > mine.start["seq"]


def test_nothing_is_seen_of_another_users_leases(stage: Stage, borrower: Start) -> None:
    if UID == OTHER_UID:
        pytest.skip("two users need root")
    other, mine = borrower(uid=OTHER_UID), borrower()
    other.connect(stage)
    mine.connect(stage)
    other.do("subscribe", name="his", kinds=["lease"])
    mine.do("subscribe", name="mine", kinds=["lease"])
    with closing(Subscriber(stage, admin=True, kinds=["lease"])) as admin:
        begun = mine.do("acquire", devices=[stage.machine.device("single")])
        mine.do("release")
        seen = [event["lease"] for event in admin.until("lease.ended")]
        assert set(seen) == {begun["id"]}
        his = other.do("acquire", devices=[stage.machine.device("pair")])
        other.do("release")
        admin.until("lease.ended")
    assert {event["lease"] for event in mine.do("events", name="mine", until="lease.ended")} == {
        begun["id"]
    }
    events = other.do("events", name="his", until="lease.ended")
    assert {event["lease"] for event in events} == {his["id"]}
    assert begun["id"] not in str(events)
    # What happened before is held to the same rule.
    other.do("subscribe", name="again", kinds=["lease"], since=events[0]["seq"] - 1)
    missed = other.do("events", name="again", until="lease.ended")
    assert {event["lease"] for event in missed} == {his["id"]}


def test_devices_are_followed_through_a_lease(stage: Stage) -> None:
    """What is the same again within a moment would not be told: the lease lasts until it was."""
    name = stage.machine.device("single")
    before = stage.before[name].driver

    def until(state: str) -> list[Any]:
        found = mine.until(
            "device.changed", lambda one: one["device"] == f"pci:{name}" and one["state"] == state
        )
        return [event for event in found if event["device"] == f"pci:{name}"]

    with closing(Subscriber(stage, kinds=["device"])) as mine:
        with stage.control.acquire([name]):
            events = until("leased")
            assert events[-1]["driver"] == "vfio-pci"
        events += until("host" if before else "free")
    assert events[-1].get("driver") == before
    assert {event["kind"] for event in events} == {"device.changed"}
    assert "lease" not in {key for event in events for key in event}


def test_what_was_missed_meanwhile_is_told_first(stage: Stage) -> None:
    with closing(Subscriber(stage, kinds=["lease"])) as mine:
        first = cycle(stage)
        last = mine.until("lease.ended")[-1]["seq"]
    missed = cycle(stage)
    with closing(Subscriber(stage, kinds=["lease"], since=last)) as again:
        assert [(event["lease"], event["kind"]) for event in again.until("lease.ended")] == [
            (missed, kind) for kind in CYCLE
        ]
        third = cycle(stage)
        assert {event["lease"] for event in again.until("lease.ended")} == {third}
    assert first != missed


def test_a_program_follows_events_and_acts_on_one_connection(stage: Stage) -> None:
    with stage.control.events(["lease"]) as events:
        name = cycle(stage)
        seen = [next(events) for _ in CYCLE]
    assert [(event.lease, event.kind) for event in seen] == [(name, kind) for kind in CYCLE]
    cycle(stage)
    with stage.control.events(["lease"], since=seen[0].seq) as again:
        assert [next(again).kind for _ in range(3)] == [*CYCLE[1:], CYCLE[0]]


def test_a_restart_is_no_silent_loss(raised: Raise) -> None:
    """Numbers go on above those of before, and a number of before is answered by a gap."""
    stage = raised()
    with closing(Subscriber(stage, kinds=["lease"])) as mine:
        cycle(stage)
        last = mine.until("lease.ended")[-1]["seq"]
        stage.stop()
        assert mine.line.receive() is None
    stage.start()
    with closing(Subscriber(stage, kinds=["lease"], since=last)) as again:
        gap = again.next()
        assert (gap["kind"], gap["lost"]) == ("gap", True)
        assert gap["seq"] == again.start["seq"] > last
    with closing(Subscriber(stage, kinds=["lease"], since=gap["seq"])) as afresh:
        cycle(stage)
        assert [event["kind"] for event in afresh.until("lease.ended")] == CYCLE


def test_an_answer_that_somebody_else_changes(stage: Stage) -> None:
    """Root takes a sibling out of the lease's reset set, and puts it back."""
    sibling = stage.machine.device("sibling")
    with (
        closing(Subscriber(stage, kinds=["lease"])) as mine,
        stage.control.acquire([stage.machine.device("pair")], hand_over="iommufd") as lease,
    ):
        mine.until("lease.granted")
        outside.unbind_driver(stage.machine.root, sibling)
        event = mine.until("lease.reset_changed")[-1]
        assert event["lease"] == lease.id
        assert event["reset"]["hot"] == "never"
        assert event["reset"]["blocked_by"] == [f"pci:{sibling}"]
        outside.bind_driver(stage.machine.root, sibling, "vfio-pci")
        event = mine.until("lease.reset_changed")[-1]
        assert event["reset"]["hot"] == "permitted_when"
        asked = stage.control.call("lease.get", {"lease": lease.id})
        assert isinstance(asked, dict)
        assert event["reset"]["when"] == asked["reset"]["when"]


def test_a_device_that_is_unplugged_is_told(stage: Stage) -> None:
    device = "0000:41:00.0"
    with closing(Subscriber(stage, kinds=["device"])) as mine:
        outside.unplug(stage.machine.root, device)
        gone = mine.until("device.removed")[-1]
        outside.replug(stage.machine.root, device)
        back = mine.until("device.added")[-1]
    assert gone["device"] == back["device"] == f"pci:{device}"
    assert gone["generation"] != back["generation"]
    assert back["state"] == "no IOMMU"


def test_another_policy_is_told_without_its_content(raised: Raise) -> None:
    stage = raised()
    with closing(Subscriber(stage)) as mine, closing(Subscriber(stage, admin=True)) as admin:
        admin.line.call("admin.reload", 7)
        event = mine.until("policy.reloaded")[-1]
    assert event["policy"] == 2
    assert set(event) == {"subscription", "seq", "kind", "at", "policy"}


# --- whoever does not read ----------------------------------------------------------------------


def test_subscriptions_have_quotas(raised: Raise) -> None:
    limits = "subscriptions_per_connection = 1\nsubscriptions_per_uid = 2\n"
    stage = raised(rules=f"{NOTHING}\n[limits]\n{limits}")
    with closing(Subscriber(stage)) as one, stage.line() as third:
        assert _refused(one.line) == "one connection may have"
        with closing(Subscriber(stage)):
            assert _refused(third) == "one user may have"


def _refused(line: Line) -> str:
    error = line.ask("events.subscribe")["error"]
    assert error["data"]["reason"] == Reason.quota.name
    return str(error["message"]).partition(", the most that ")[2]


def test_the_subscription_of_another_connection_is_none(stage: Stage) -> None:
    with closing(Subscriber(stage)) as mine, pytest.raises(Refused) as refused:
        name = mine.start["subscription"]
        stage.control.call("events.unsubscribe", {"subscription": name})
    assert refused.value.reason is Reason.not_found
