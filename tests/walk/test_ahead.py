"""``bind = "ahead"``: free members of a pool wait on vfio-pci, and go back when nobody wants them
to."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from isod.client.blocking import Client
from isod.kernel.simulated import calls, faults, outside
from isod.wire.packet import close_all

from .conftest import Raise, Start
from .machine import Binding
from .policy import NOTHING, rule
from .stage import Stage
from .test_pools import CARDS

pytestmark = pytest.mark.slow  # starts and ends many daemons

WAITS = Binding("vfio-pci", "vfio-pci")
USED = Binding("nouveau", None)
GPUS = [f"0000:0{bus}:00.0" for bus in (1, 2, 3, 4)]


def pool(*, bind: str = "ahead", take_from: str = "nouveau", what: str = 'class = "0300"') -> str:
    taking = f'take_from = ["{take_from}"]' if take_from and bind == "ahead" else ""
    return f"""
[[pool]]
name = "gpus"
devices = [{{ {what} }}]
bind = "{bind}"
{taking}
"""


RULES = NOTHING + pool() + rule()
ON_DEMAND = NOTHING + pool(bind="on-demand") + rule()


def bindings(stage: Stage) -> list[Binding]:
    """How the cards are bound; none while one of them is being moved just now."""
    try:
        picture = stage.picture()
    except FileNotFoundError:
        return []
    return [picture[name] for name in GPUS if name in picture]


def until_all(stage: Stage, wanted: Binding) -> None:
    stage.daemon.until(lambda: bindings(stage) == [wanted] * 4, f"not {wanted}")


def said_to_wait(stage: Stage) -> set[str]:
    return {one.address.name for one in stage.control.devices() if one.ahead}


def problems(stage: Stage) -> dict[str, str]:
    listed = stage.control.devices()
    return {one.address.name: one.ahead_problem for one in listed if one.ahead_problem}


def reload(stage: Stage, policy: str) -> None:
    stage.write_policy(policy)
    with Client.connect(stage.socket.parent / "admin" / "admin.sock", timeout=30) as admin:
        admin.call("admin.reload", {})


def put_back(stage: Stage) -> None:
    """What every test ends with: without the pool's ``bind`` all is as it was."""
    reload(stage, ON_DEMAND)
    until_all(stage, USED)
    stage.daemon.until(lambda: not stage.changes(), "something is not as it was")


def test_members_wait_from_the_start_and_go_back_with_the_policy(raised: Raise) -> None:
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    stage.daemon.until(lambda: said_to_wait(stage) == set(GPUS), "it is not said")
    others = {name: pair for name, pair in stage.changes().items() if name not in GPUS}
    assert not others
    put_back(stage)
    stage.daemon.until(lambda: not said_to_wait(stage), "some are said to wait")


def test_a_reload_that_asks_for_it_binds(raised: Raise) -> None:
    stage = raised(CARDS, ON_DEMAND)
    assert bindings(stage) == [USED] * 4
    reload(stage, RULES)
    until_all(stage, WAITS)
    put_back(stage)


def test_without_take_from_only_those_without_a_driver_wait(raised: Raise) -> None:
    stage = raised(CARDS, NOTHING + pool(take_from="") + rule())
    stage.until_noticed()
    assert bindings(stage) == [USED] * 4
    assert not stage.changes()


def test_a_lease_needs_no_bind_and_gives_back_to_vfio_pci(raised: Raise, borrower: Start) -> None:
    stage = raised(CARDS, NOTHING + pool() + rule(take_from=["snd_hda_intel"]))
    until_all(stage, WAITS)
    client = borrower()
    client.connect(stage)
    shown: Any = stage.control.call("lease.explain", {"devices": [{"pool": "gpus"}]})
    assert "bind" not in {step["step"] for step in shown["plan"]}
    lease = client.do("acquire", devices=["pool:gpus:2"])
    assert len(lease["devices"]) >= 2
    client.do("close")
    stage.daemon.until(lambda: stage.lease_count() == 0, "the lease stays")
    assert bindings(stage) == [WAITS] * 4
    put_back(stage)


def test_a_member_that_is_leased_waits_after_its_lease(raised: Raise, borrower: Start) -> None:
    stage = raised(CARDS, ON_DEMAND)
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[GPUS[1]])
    reload(stage, RULES)
    stage.daemon.until(lambda: bindings(stage).count(WAITS) == 4, "not all are on vfio-pci")
    client.do("close")
    stage.daemon.until(lambda: stage.lease_count() == 0, "the lease stays")
    until_all(stage, WAITS)
    put_back(stage)


def test_the_pool_goes_while_a_member_is_leased(raised: Raise, borrower: Start) -> None:
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[GPUS[1]])
    reload(stage, ON_DEMAND)
    stage.daemon.until(lambda: bindings(stage).count(USED) == 3, "the others stay on vfio-pci")
    assert bindings(stage)[1] == WAITS
    client.do("close")
    put_back(stage)


def test_what_waits_stays_at_a_stop_and_is_known_at_the_next_start(raised: Raise) -> None:
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    stage.stop()
    assert bindings(stage) == [WAITS] * 4
    stage.start()
    stage.until_noticed()
    assert bindings(stage) == [WAITS] * 4
    put_back(stage)


def test_a_policy_that_went_while_isod_was_down_puts_back_at_the_start(raised: Raise) -> None:
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    stage.stop()
    stage.write_policy(ON_DEMAND)
    stage.start()
    until_all(stage, USED)
    assert not stage.changes()


def test_a_policy_with_a_fault_at_the_start_moves_nothing(raised: Raise) -> None:
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    stage.stop()
    stage.write_policy("version = 2")
    stage.start()
    stage.until_noticed()
    assert bindings(stage) == [WAITS] * 4
    put_back(stage)


@pytest.mark.parametrize("moment", [0, 1, 3, 4])
def test_killed_at_any_step_nothing_is_stranded(raised: Raise, moment: int) -> None:
    stage = raised(CARDS, ON_DEMAND)
    stage.write_policy(RULES)
    stage.kill()
    stage.start()
    stage.daemon.until(lambda: bindings(stage).count(WAITS) >= moment - 1, "nothing is bound")
    stage.kill()
    stage.write_policy(RULES if moment % 2 else ON_DEMAND)
    stage.start()
    until_all(stage, WAITS if moment % 2 else USED)
    put_back(stage)


def test_what_does_not_bind_is_told_once_and_stays_as_it_was(raised: Raise) -> None:
    stage = raised(CARDS, ON_DEMAND)
    faults.fail(stage.machine.root, "bind", GPUS[0], errno.ENODEV)
    reload(stage, RULES)
    stage.daemon.wait_for("not bound ahead", GPUS[0])
    others = [WAITS] * 3
    stage.daemon.until(lambda: bindings(stage) == [USED, *others], "the others do not wait")
    (problem,) = problems(stage).items()
    assert problem == (GPUS[0], "not bound ahead: step bind: No such device")
    outside.write(stage.machine.root, GPUS[1], "numa_node", "0")
    stage.until_noticed()
    assert len([line for line in stage.daemon.log if "not bound ahead" in line]) == 1
    faults.mend(stage.machine.root, "bind", GPUS[0])
    reload(stage, RULES)
    until_all(stage, WAITS)
    assert problems(stage) == {}
    put_back(stage)


@pytest.mark.parametrize("then", [ON_DEMAND, RULES], ids=["not wanted", "wanted again"])
def test_a_reload_in_the_middle_of_a_bind_counts(raised: Raise, then: str) -> None:
    """What the new policy says of a device that is just being moved is done when it has arrived."""
    stage = raised(CARDS, ON_DEMAND)
    with faults.hang(stage.machine.root, "bind", GPUS[2]):
        reload(stage, RULES)
        stage.daemon.until(lambda: bindings(stage)[2] == Binding(None, "vfio-pci"), "not begun")
        reload(stage, ON_DEMAND)
        reload(stage, then)
    until_all(stage, USED if then == ON_DEMAND else WAITS)
    put_back(stage)


def test_a_card_that_is_plugged_in_waits(raised: Raise) -> None:
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    outside.unplug(stage.machine.root, GPUS[0])
    stage.daemon.until(lambda: len(stage.control.devices()) == 10, "it is not gone")
    outside.replug(stage.machine.root, GPUS[0])
    until_all(stage, WAITS)
    put_back(stage)


def test_what_an_admin_takes_off_by_hand_is_not_fought_over(raised: Raise) -> None:
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    root = stage.machine.root
    outside.unbind_driver(root, GPUS[0])
    outside.write(root, GPUS[0], "driver_override", "")
    outside.probe_drivers(root, GPUS[0])
    stage.daemon.until(lambda: said_to_wait(stage) == set(GPUS[1:]), "it is still kept")
    assert bindings(stage)[0] == USED
    put_back(stage)


def test_what_a_program_outside_has_open_goes_back_at_the_next_reload(raised: Raise) -> None:
    stage = raised(CARDS, RULES)
    until_all(stage, WAITS)
    number = next(one.group for one in stage.control.devices() if one.address.name == GPUS[1])
    assert number is not None
    held = calls.open_group(stage.machine.root, number)
    try:
        reload(stage, ON_DEMAND)
        stage.daemon.wait_for("not put back", GPUS[1])
        assert bindings(stage)[1] == WAITS
    finally:
        close_all([held])
    put_back(stage)
