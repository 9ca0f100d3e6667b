"""Devices out of pools, through a running daemon."""

from __future__ import annotations

from typing import Any

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated.hosts import E1000E, GPU, GPU_AUDIO, ROOT_PORT
from isod.kernel.simulated.topology import Place, SimulatedHost
from isod.model.reason import Reason

from .borrowers import Borrower
from .conftest import Raise, Start
from .policy import NOTHING, rule
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

CARDS = SimulatedHost(
    about="Four graphics cards, two on each NUMA node; the first has an audio function.",
    places=(
        *(
            Place(f"00:{bus:02x}.0", ROOT_PORT, group=bus, below=f"{bus:02x}")
            for bus in range(1, 6)
        ),
        Place("01:00.0", GPU, group=11, numa=0),
        Place("01:00.1", GPU_AUDIO, group=11, numa=0),
        Place("02:00.0", GPU, group=12, numa=0),
        Place("03:00.0", GPU, group=13, numa=1),
        Place("04:00.0", GPU, group=14, numa=1),
        Place("05:00.0", E1000E, group=15, numa=1),
    ),
)
POOL = """
[[pool]]
name = "gpus"
devices = [{ class = "0300" }]
"""


@pytest.fixture
def gpus(raised: Raise) -> Stage:
    return raised(CARDS, NOTHING + POOL + rule())


def asked(client: Borrower, *devices: str, **wishes: Any) -> dict[str, str | None]:
    """What a client got that it asked for, each with its pool."""
    lease = client.do("acquire", devices=list(devices), **wishes)
    return {
        one["address"].removeprefix("pci:0000:"): one["pool"]
        for one in lease["devices"]
        if one["why"] == "requested"
    }


def test_explain_shows_what_acquire_then_takes(gpus: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(gpus)
    wish = {"devices": [{"pool": "gpus", "count": 2, "numa": 1}]}
    shown: Any = gpus.control.call("lease.explain", wish)
    assert shown["allowed"]
    assert [one["address"] for one in shown["devices"]] == ["pci:0000:03:00.0", "pci:0000:04:00.0"]
    assert {one["pool"] for one in shown["devices"]} == {"gpus"}
    lease = client.do("call", method="lease.explain", params=wish)
    assert lease["devices"] == shown["devices"]
    assert asked(client, "0000:05:00.0", "pool:gpus:2") == {
        "03:00.0": "gpus",
        "04:00.0": "gpus",
        "05:00.0": None,
    }
    client.do("close")


def test_two_or_nothing_and_who_wants_two_is_not_starved(gpus: Stage, borrower: Start) -> None:
    holder, greedy, late = borrower(), borrower(), borrower()
    for client in (holder, greedy, late):
        client.connect(gpus)
    for name, count in (("one", 1), ("other", 2)):
        holder.do("acquire", devices=[f"pool:gpus:{count}"], name=name)
    with pytest.raises(Refused) as refused:
        late.do("acquire", devices=["pool:gpus:2"])
    assert refused.value.reason is Reason.group_busy
    greedy.begin("acquire", devices=["pool:gpus:2"], wait=30)
    gpus.daemon.until(lambda: _is_kept(late), "nobody waits")
    late.begin("acquire", devices=["pool:gpus"], wait=30)
    holder.do("close", name="one")
    assert len(greedy.answer()["devices"]) >= 2
    holder.do("close", name="other")
    assert late.answer()["state"] == "leased"
    for client in (greedy, late):
        client.do("close")


def test_asked_again_with_its_key_the_same_lease_answers(gpus: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(gpus)
    first = client.do("acquire", devices=["pool:gpus:2"], key="two")
    again: Any = client.do(
        "call",
        method="lease.acquire",
        params={"devices": [{"pool": "gpus", "count": 2}], "key": "two"},
    )
    assert again["lease"]["id"] == first["id"]
    with pytest.raises(Refused) as refused:
        client.do("acquire", devices=["pool:gpus:1"], key="two")
    assert refused.value.reason is Reason.terms
    client.do("close")


def test_the_files_come_in_the_order_of_the_request(gpus: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(gpus)
    lease = client.do("acquire", devices=["pool:gpus", "0000:05:00.0", "pool:gpus"])
    files = [one for one in lease["roles"] if one["role"] == "device"]
    assert [one["address"] for one in files] == [
        "pci:0000:03:00.0",
        "pci:0000:05:00.0",
        "pci:0000:04:00.0",
    ]
    client.do("close")


def _is_kept(newcomer: Borrower) -> bool:
    """Whether the one card that is left is kept for somebody: a newcomer may not have it."""
    try:
        newcomer.do("acquire", devices=["pool:gpus"])
    except Refused as refused:
        return refused.reason is Reason.group_busy
    newcomer.do("close")
    return False
