"""Scrubs on real kernels: a set that only a hot reset resets, and resets that fail.

A hot reset below the first root ports of QEMU ends with ENOTTY after having reset: there a device
whose only method is ``bus`` cannot be scrubbed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from isod.client.blocking import Client
from isod.client.errors import Refused
from isod.model.reason import Reason
from tests.lab.hardware import Hardware
from tests.lab.selection import GuestName
from tests.walk.conftest import Start
from tests.walk.stage import Stage

from .conftest import SCRUBBED_UID
from .outside import reset_method

pytestmark = pytest.mark.lab(kernels=("6.12", "7.2"), topology="standard")


def admins(stage: Stage) -> Client:
    return Client.connect(stage.socket.parent / "admin" / "admin.sock", timeout=120)


def quarantined(stage: Stage) -> dict[str, str]:
    with admins(stage) as admin:
        found: Any = admin.call("quarantine.list")
    return {one["address"]: one["why"] for one in found["devices"]}


@contextmanager
def cleared(stage: Stage) -> Iterator[None]:
    """Trust everything again afterwards."""
    try:
        yield
    finally:
        for address in quarantined(stage):
            with admins(stage) as admin:
                admin.call("quarantine.clear", {"address": address})


def hand_overs(guest: GuestName) -> list[str]:
    return ["group", *(["iommufd"] if guest.kernel == "7.2" else [])]


def test_a_set_behind_a_bridge_is_reset_before_and_after(
    stage: Stage, borrower: Start, hardware: Hardware, lab_guest: GuestName
) -> None:
    """The NICs have a hot reset alone; it works once the bridge's own driver is off."""
    first, second = hardware.bridge_nics
    for hand_over in hand_overs(lab_guest):
        client = borrower(uid=SCRUBBED_UID)
        client.connect(stage)
        said = len(stage.daemon.log)
        lease = client.do("acquire", devices=[first], hand_over=hand_over, reset="whole-set")
        assert lease["state"] == "leased"
        client.close()
        stage.until_quiet()
        assert not [line for line in stage.daemon.log[said:] if "step.failed" in line]
        assert not quarantined(stage)
        assert stage.group_state(second) in {"free", "host"}


def test_what_cannot_be_reset_is_not_handed_over(stage: Stage, borrower: Start) -> None:
    single = stage.machine.device("single")
    client, other = borrower(uid=SCRUBBED_UID), borrower()
    client.connect(stage)
    other.connect(stage)
    with cleared(stage), reset_method(single, "bus"):
        # isod looks at a device that it has bound: that its methods are others emits no event.
        other.do("acquire", devices=[single], hand_over="group")
        other.do("close")
        stage.until_restored()
        with pytest.raises(Refused) as refused:
            client.do("acquire", devices=[single], hand_over="group")
        assert refused.value.reason is Reason.kernel
        assert refused.value.data["step"] == "hot_reset"
        assert refused.value.data["errno"] == errno.ENOTTY
        stage.until_restored()
        assert stage.group_state(single) == "quarantined"
        assert f"pci:{single}" in quarantined(stage)
        with pytest.raises(Refused) as refused:
            other.do("acquire", devices=[single], hand_over="group", name="again")
        assert refused.value.reason is Reason.quarantined
    other.do("acquire", devices=[single], hand_over="group", name="cleared")
    other.do("close", name="cleared")


def test_a_scrub_that_fails_on_the_way_back_ends_in_quarantine(
    stage: Stage, borrower: Start
) -> None:
    single = stage.machine.device("single")
    client, other = borrower(uid=SCRUBBED_UID), borrower()
    client.connect(stage)
    other.connect(stage)
    with cleared(stage):
        client.do("acquire", devices=[single], hand_over="group")
        with reset_method(single, "bus"):
            client.do("close")
            stage.until_restored()
        assert "could not be reset" in quarantined(stage)[f"pci:{single}"]
    # Whose rule wants no scrub before: isod has the methods of before in mind until it looks.
    other.do("acquire", devices=[single], hand_over="group")
    other.do("close")
    stage.until_restored()
