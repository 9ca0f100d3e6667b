"""Scrubs through the daemon: what is reset, when it is not, and what becomes of the device."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isod.client.blocking import Client
from isod.client.errors import Refused
from isod.kernel.simulated import faults, outside
from isod.kernel.simulated.hosts import E1000, ROOT_PORT
from isod.kernel.simulated.machine import Machine
from isod.kernel.simulated.topology import Place, SimulatedHost
from isod.model.reason import Reason

from . import policy
from .conftest import Raise
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

REQUIRED = policy.NOTHING + policy.rule(scrub="require")
TWO_GROUPS = SimulatedHost(
    about="Two old NICs on one bus, each a group of its own: only a hot reset resets them.",
    places=(
        Place("00:05.0", ROOT_PORT, group=1, below="01"),
        Place("01:01.0", E1000, group=2),
        Place("01:02.0", E1000, group=3),
    ),
)
ONE, OTHER = "0000:01:01.0", "0000:01:02.0"


def hot_resets(stage: Stage) -> set[str]:
    """Which devices isod's own hot resets have hit: a close resets a set, too, if it can."""
    seen = outside.resets(stage.machine.root)
    return {one.device for one in seen if one.kind == "hot" and one.cause == "ioctl"}


def admins(stage: Stage) -> Client:
    return Client.connect(stage.socket.parent / "admin" / "admin.sock", timeout=30)


def quarantined(stage: Stage) -> dict[str, str]:
    with admins(stage) as admin:
        found: Any = admin.call("quarantine.list")
    return {one["address"]: one["why"] for one in found["devices"]}


def clear_all(stage: Stage) -> None:
    for address in quarantined(stage):
        with admins(stage) as admin:
            admin.call("quarantine.clear", {"address": address})


def test_a_required_scrub_resets_the_whole_set_before_and_after(raised: Raise) -> None:
    stage = raised(rules=REQUIRED)
    root, old = stage.machine.root, stage.machine.device("behind_bridge")
    lease = stage.control.acquire([old], hand_over="iommufd")
    assert hot_resets(stage) == {"0000:04:01.0", "0000:04:02.0"}
    before = len(outside.resets(root))
    lease.close()
    stage.until_restored()
    hot = [one.device for one in outside.resets(root)[before:] if one.cause == "ioctl"]
    assert sorted(hot) == ["0000:04:01.0", "0000:04:02.0"]


def test_the_default_tries_it_on_the_way_back(raised: Raise) -> None:
    stage = raised()
    lease = stage.control.acquire([stage.machine.device("behind_bridge")], hand_over="group")
    assert not hot_resets(stage)
    lease.close()
    stage.until_restored()
    assert hot_resets(stage) == {"0000:04:01.0", "0000:04:02.0"}


def test_a_shared_set_needs_the_whole_set(raised: Raise) -> None:
    stage = raised(TWO_GROUPS, REQUIRED)
    with pytest.raises(Refused) as refused:
        stage.control.acquire([ONE])
    assert refused.value.reason is Reason.terms
    assert "would hit 01:02.0, too" in refused.value.message
    lease = stage.control.acquire([ONE], reset="whole-set")
    assert hot_resets(stage) == {ONE, OTHER}
    lease.close()


def test_without_containers_the_set_is_bound_to_one_iommufd(raised: Raise) -> None:
    stage = raised(replace(TWO_GROUPS, machine=Machine(container=False)), REQUIRED)
    lease = stage.control.acquire([ONE], reset="whole-set")
    assert hot_resets(stage) == {ONE, OTHER}
    lease.close()
    stage.until_restored()
    assert not quarantined(stage)


def test_a_scrub_that_fails_ends_in_quarantine_until_it_is_cleared(raised: Raise) -> None:
    stage = raised(rules=REQUIRED)
    root, single = stage.machine.root, stage.machine.device("single")
    lease = stage.control.acquire([single], hand_over="iommufd")
    faults.fail(root, "resetting", single, errno.ENOTTY)
    lease.close()
    stage.until_restored()
    assert stage.group_state(single) == "quarantined"
    assert "could not be reset" in quarantined(stage)[f"pci:{single}"]
    with pytest.raises(Refused) as refused:
        stage.control.acquire([single])
    assert refused.value.reason is Reason.quarantined
    faults.mend(root, "resetting", single)
    clear_all(stage)
    stage.control.acquire([single]).close()


def test_a_set_that_cannot_be_reset_is_not_handed_over(raised: Raise) -> None:
    """Refused before anything is given out, and nobody else gets it either."""
    stage = raised(rules=REQUIRED)
    old = stage.machine.device("behind_bridge")
    faults.fail(stage.machine.root, "resetting", old, errno.ENOTTY)
    with pytest.raises(Refused) as refused:
        stage.control.acquire([old])
    assert refused.value.reason is Reason.kernel
    assert refused.value.data["step"] == "hot_reset"
    stage.until_restored()
    assert quarantined(stage).keys() == {"pci:0000:04:01.0", "pci:0000:04:02.0"}
    faults.mend(stage.machine.root, "resetting", old)
    clear_all(stage)
    stage.control.acquire([old]).close()


@pytest.mark.parametrize("shape", ["single", "behind_bridge"])
def test_a_device_that_is_dead_after_its_reset_is_in_quarantine(raised: Raise, shape: Any) -> None:
    stage = raised(rules=REQUIRED)
    root, device = stage.machine.root, stage.machine.device(shape)
    lease = stage.control.acquire([device])
    faults.fail(root, "dies", device, 0)
    lease.close()
    stage.until_restored()
    assert "does not answer" in quarantined(stage)[f"pci:{device}"]


def test_where_it_is_only_tried_a_failure_is_a_note(raised: Raise) -> None:
    stage = raised()
    root, old = stage.machine.root, stage.machine.device("behind_bridge")
    lease = stage.control.acquire([old])
    faults.fail(root, "resetting", old, errno.ENOTTY)
    lease.close()
    stage.daemon.wait_for("step.failed", "hot reset of 04:01.0 failed")
    stage.until_restored()
    assert not quarantined(stage)
    stage.control.acquire([old]).close()


def waiting(stage: Stage, lease: str) -> str | None:
    """What a lease waits for, once its end was noticed and it is fenced."""
    found: Any = stage.control.call("lease.get", {"lease": lease})
    words: str | None = found["lease"]["waiting"]
    return words


def test_a_set_that_has_grown_is_waited_for_and_nobody_is_reset(raised: Raise) -> None:
    """Another NIC is plugged into the bus while the lease lasts; it is the host's."""
    stage = raised(TWO_GROUPS, REQUIRED)
    root = stage.machine.root
    outside.unplug(root, OTHER)
    stage.daemon.until(lambda: len(list(stage.control.devices())) == 2, "not noticed")
    lease = stage.control.acquire([ONE])
    outside.replug(root, OTHER)
    stage.daemon.until(lambda: len(list(stage.control.devices())) == 3, "not noticed")
    resets = len(outside.resets(root))
    lease.close()
    stage.daemon.until(lambda: waiting(stage, lease.id) is not None, "it does not wait")
    assert waiting(stage, lease.id) == (
        "a reset of 01:01.0 would hit 01:02.0, which is used by e1000"
    )
    shown = {device.address.name: device for device in stage.control.devices()}[ONE]
    assert (shown.state, shown.waiting) == ("scrubbing", waiting(stage, lease.id))
    assert not [one for one in outside.resets(root)[resets:] if one.device == OTHER]
    stage.kill()
    stage.start()
    stage.daemon.until(lambda: waiting(stage, lease.id) is not None, "forgotten")
    outside.unplug(root, OTHER)
    stage.daemon.until(lambda: stage.lease_count() == 0, "it waits for ever")
    assert not quarantined(stage)
    outside.replug(root, OTHER)
    stage.daemon.until(lambda: len(list(stage.control.devices())) == 3, "not noticed")


def test_a_program_beside_it_is_waited_for(raised: Raise, tmp_path: Path) -> None:
    """Only the kernel knows that a member's group is open elsewhere: isod asks it again."""
    stage = raised(TWO_GROUPS, REQUIRED)
    lease = stage.control.acquire([ONE], reset="whole-set")
    faults.fail(stage.machine.root, "resetting", ONE, errno.EAGAIN)
    lease.close()
    stage.daemon.wait_for("lease.waiting", "cannot be reset now")
    faults.mend(stage.machine.root, "resetting", ONE)
    stage.until_restored()
    assert not quarantined(stage)
