"""Events: in order, to those who may see them, and never left out in silence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isod.daemon.journal import MESSAGE_IDS
from isod.daemon.publisher import Publisher
from isod.daemon.ring import Published, Ring
from isod.daemon.subscription import QUEUE_BYTES
from isod.model.address import Address
from isod.model.lease import Revocation
from isod.model.notice import KINDS
from isod.model.request import FAMILIES, PACKET_BYTES
from isod.model.reset import LeaseReset
from tests.unit.core.build import device

from .news import ALICE, BOB, LATEST, Records, identity, kinds, lease, publisher, sent, subscription

# --- who is told what ---------------------------------------------------------------------------


async def test_events_are_numbered_in_the_order_in_which_they_happen() -> None:
    news = publisher()
    mine = subscription(news)
    news.lease("lease.granted", lease())
    news.lease("lease.draining", lease(), "its hold was closed")
    news.policy_reloaded(7)
    assert await sent(mine) == [
        {
            "subscription": "S1",
            "seq": LATEST + 1,
            "kind": "lease.granted",
            "at": 5.0,
            "lease": "L1",
            "uid": ALICE,
            "devices": ["pci:0000:01:00.0"],
        },
        {
            "subscription": "S1",
            "seq": LATEST + 2,
            "kind": "lease.draining",
            "at": 5.0,
            "lease": "L1",
            "uid": ALICE,
            "devices": ["pci:0000:01:00.0"],
            "note": "its hold was closed",
        },
        {
            "subscription": "S1",
            "seq": LATEST + 3,
            "kind": "policy.reloaded",
            "at": 5.0,
            "policy": 7,
        },
    ]


async def test_leases_of_another_user_are_not_told() -> None:
    news = publisher()
    mine, his = subscription(news), subscription(news, identity(BOB))
    news.lease("lease.granted", lease("L1", ALICE))
    news.lease("lease.granted", lease("L2", BOB))
    news.lease("device.stranded", lease("L1", ALICE), "01:00.0: no")
    assert [event["lease"] for event in await sent(mine)] == ["L1", "L1"]
    assert [event["lease"] for event in await sent(his)] == ["L2"]


async def test_what_was_missed_is_held_to_the_same_rule() -> None:
    news = publisher()
    news.lease("lease.granted", lease("L1", ALICE))
    news.lease("lease.granted", lease("L2", BOB))
    mine = subscription(news, since=LATEST)
    assert [event["lease"] for event in await sent(mine)] == ["L1"]


async def test_an_administrator_is_told_of_all_leases() -> None:
    news = publisher()
    admin = subscription(news, identity(0, admin=True))
    news.lease("lease.granted", lease("L1", ALICE))
    news.lease("lease.granted", lease("L2", BOB))
    assert [event["lease"] for event in await sent(admin)] == ["L1", "L2"]


async def test_root_on_the_ordinary_socket_is_a_user_like_any_other() -> None:
    news = publisher()
    root = subscription(news, identity(0))
    news.lease("lease.granted", lease("L1", ALICE))
    assert await sent(root) == []


async def test_devices_are_told_to_everybody_as_host_devices_shows_them() -> None:
    news = publisher()
    mine = subscription(news, None, "device")
    news.lease("lease.granted", lease())
    news.device("device.changed", device("01:00.0", 12, "vfio-pci"), "leased")
    (event,) = await sent(mine)
    assert event["device"] == "pci:0000:01:00.0"
    assert (event["driver"], event["group"], event["state"]) == ("vfio-pci", 12, "leased")


async def test_families_that_were_not_asked_for_are_left_out() -> None:
    news = publisher()
    mine = subscription(news, None, "policy")
    news.lease("lease.granted", lease())
    news.policy_reloaded(2)
    assert await kinds(mine) == ["policy.reloaded"]


def test_every_kind_belongs_to_a_family_and_has_one_id_in_the_log() -> None:
    assert {name.partition(".")[0] for name in KINDS} == set(FAMILIES)
    identities = list(MESSAGE_IDS.values())
    assert len(set(identities)) == len(identities)
    assert all(len(bytes.fromhex(one)) == 16 for one in identities)


def test_the_log_hears_of_leases_and_not_of_devices() -> None:
    log = Records()
    news = Publisher(log)
    news.lease("lease.in_use", lease())
    news.device("device.removed", device("01:00.0", 12), None)
    assert log.kinds == ["lease.in_use"]
    assert log.messages == ["lease L1 is waited for, its devices are open"]


async def test_an_answer_that_is_too_long_for_a_packet_is_left_out() -> None:
    news = publisher()
    mine = subscription(news)
    long = LeaseReset(hot="never", why="x" * PACKET_BYTES)
    news.lease("lease.reset_changed", lease(), "never", long)
    (event,) = await sent(mine)
    assert event["note"] == "never"
    assert "reset" not in event


async def test_the_owner_who_is_asked_to_let_go_learns_until_when() -> None:
    news = publisher()
    mine = subscription(news)
    asked = replace(lease(), revocation=Revocation(deadline=35.0))
    news.lease("lease.revoking", asked, "revoked by an administrator")
    (event,) = await sent(mine)
    assert (event["deadline"], event["note"]) == (35.0, "revoked by an administrator")


# --- a subscriber that does not read ------------------------------------------------------------


async def test_a_full_queue_ends_the_subscription_with_a_gap() -> None:
    news = publisher()
    stalled, other = subscription(news, most=3), subscription(news)
    for number in range(5):
        news.policy_reloaded(number)
    events = await sent(stalled)
    assert [event["kind"] for event in events] == ["policy.reloaded"] * 3 + ["gap"]
    assert events[-1]["seq"] == LATEST + 3, "everything up to here was sent"
    assert "lost" not in events[-1]
    news.policy_reloaded(9)
    assert await sent(stalled) == []
    assert len(await sent(other)) == 6


async def test_what_a_subscriber_does_not_see_does_not_fill_its_queue() -> None:
    news = publisher()
    mine = subscription(news, most=1)
    for _ in range(5):
        news.lease("lease.granted", lease("L2", BOB))
    news.lease("lease.granted", lease())
    news.lease("lease.granted", lease("L2", BOB))
    assert await kinds(mine) == ["lease.granted"]


async def test_after_a_gap_the_rest_is_to_be_had() -> None:
    news = publisher()
    stalled = subscription(news, most=2)
    for number in range(6):
        news.policy_reloaded(number)
    first = await sent(stalled)
    again = subscription(news, since=first[-1]["seq"])
    numbers = [event["policy"] for event in (*first[:-1], *await sent(again))]
    assert numbers == [0, 1, 2, 3, 4, 5]


async def test_a_queue_has_an_end_in_bytes_too() -> None:
    news = publisher()
    stalled = subscription(news, most=1000)
    note = "x" * 50_000
    for _ in range(40):
        news.lease("lease.draining", lease(), note)
    events = await sent(stalled)
    assert events[-1]["kind"] == "gap"
    assert QUEUE_BYTES <= (len(events) - 1) * 50_500 < 1.1 * QUEUE_BYTES


async def test_what_was_missed_does_not_count_as_unread() -> None:
    news = publisher()
    for number in range(10):
        news.policy_reloaded(number)
    mine = subscription(news, most=2, since=LATEST)
    news.policy_reloaded(10)
    news.policy_reloaded(11)
    assert await kinds(mine) == ["policy.reloaded"] * 12


# --- what was missed ----------------------------------------------------------------------------


async def test_without_since_a_subscription_begins_now() -> None:
    news = publisher()
    news.policy_reloaded(1)
    mine = subscription(news)
    news.policy_reloaded(2)
    assert [event["policy"] for event in await sent(mine)] == [2]


@pytest.mark.parametrize("since", [LATEST - 1, 0, LATEST + 4])
async def test_a_number_of_another_run_is_answered_by_a_gap(since: int) -> None:
    """Older than the first event of this run, or not given yet: neither is taken for one of now."""
    news = publisher()
    for number in range(3):
        news.policy_reloaded(number)
    mine = subscription(news, since=since)
    news.policy_reloaded(3)
    (gap,) = await sent(mine)
    assert gap["kind"] == "gap"
    assert gap["lost"]
    assert gap["seq"] == LATEST + 3, "from here on it can be had"
    assert [event["policy"] for event in await sent(subscription(news, since=gap["seq"]))] == [3]


def test_the_ring_forgets_the_oldest_and_knows_it() -> None:
    ring = Ring(10, events=3)
    for seq in range(11, 16):
        ring.add(Published(seq, "policy", None, b"{}"))
    assert ring.since(11) is None
    kept = ring.since(12)
    assert kept is not None
    assert [event.seq for event in kept] == [13, 14, 15]
    assert ring.since(15) == ()
    assert ring.since(16) is None


def test_the_ring_has_an_end_in_bytes_but_keeps_the_newest() -> None:
    ring = Ring(0, size=10)
    ring.add(Published(1, "policy", None, b"x" * 6))
    ring.add(Published(2, "policy", None, b"x" * 6))
    assert ring.since(0) is None
    assert ring.since(1) != ()
    ring.add(Published(3, "policy", None, b"x" * 60))
    assert ring.since(1) is None
    kept = ring.since(2)
    assert kept is not None
    assert [event.seq for event in kept] == [3]


async def test_devices_that_are_open_are_told() -> None:
    news = publisher()
    mine = subscription(news)
    news.lease("lease.in_use", replace(lease(), open=(Address.parse("01:00.0"),)))
    (event,) = await sent(mine)
    assert event["open"] == ["pci:0000:01:00.0"]
