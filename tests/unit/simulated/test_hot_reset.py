"""Hot resets: the table of what the other function may be, for both hand-overs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from isod.kernel.simulated import calls, outside

from .played import Played, errno_of

CALLER, OTHER = "0000:01:00.0", "0000:01:00.1"
OWNED, NOT_OWNED = calls.OWNED, calls.NOT_OWNED


def by_cdev(played: Played, stack: ExitStack) -> tuple[int, int]:
    """The caller's iommufd and bound device."""
    iommufd = played.iommufd()
    stack.callback(os.close, iommufd)
    device = played.bound("01:00.0", iommufd)
    stack.callback(os.close, device)
    return iommufd, device


def by_group(played: Played, stack: ExitStack) -> tuple[int, int]:
    """The caller's group and device."""
    number = played.device("01:00.0").group
    assert number is not None
    container, group = played.in_container(number)
    device = calls.get_device_fd(group, CALLER)
    for descriptor in (container, group, device):
        stack.callback(os.close, descriptor)
    return group, device


def answer(device: int) -> tuple[int | None, bool | None, int | None]:
    """Devid of the other function, whether all is owned, and the reset's errno."""
    info = calls.hot_reset_info(device)
    found = {one.device: one.devid for one in info.dependents}
    assert set(found) == {CALLER, OTHER}
    return found[OTHER], info.owned, errno_of(lambda: calls.hot_reset(device))


# --- the other function, seen from a cdev -----------------------------------------------------


@pytest.mark.parametrize("driver", [None, "e1000e", "pci-stub"])
def test_other_not_on_vfio(demo: Played, stack: ExitStack, driver: str | None) -> None:
    demo.give("01:00.0")
    outside.unbind_driver(demo.directory, OTHER)
    _, device = by_cdev(demo, stack)
    if driver == "e1000e":
        # Only a foreign kernel driver in another group can sit there while the caller owns his.
        return
    if driver is not None:
        outside.write(demo.directory, OTHER, "driver_override", driver)
        outside.probe_drivers(demo.directory, OTHER)
    assert answer(device) == (NOT_OWNED, False, errno.EINVAL)


def test_other_on_a_kernel_driver_of_another_group(shared_bus: Played, stack: ExitStack) -> None:
    shared_bus.give("01:00.0")
    _, device = by_cdev(shared_bus, stack)
    assert shared_bus.device("01:00.1").driver == "igb"
    assert answer(device) == (NOT_OWNED, False, errno.EINVAL)


def test_other_of_the_same_group_not_open(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1")
    _, device = by_cdev(demo, stack)
    assert answer(device) == (OWNED, True, None)


def test_other_of_the_same_group_open_but_unbound(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1")
    _, device = by_cdev(demo, stack)
    stack.callback(os.close, demo.open_cdev("01:00.1"))
    assert answer(device) == (OWNED, True, None)


def test_other_bound_to_the_same_iommufd(shared_bus: Played, stack: ExitStack) -> None:
    shared_bus.give("01:00.0", "01:00.1")
    iommufd, device = by_cdev(shared_bus, stack)
    other = shared_bus.bound("01:00.1", iommufd)
    assert answer(device) == (2, True, None)
    os.close(other)
    assert answer(device) == (NOT_OWNED, False, errno.EINVAL), "and again after it is closed"


def test_other_of_another_group_not_open_or_unbound(shared_bus: Played, stack: ExitStack) -> None:
    shared_bus.give("01:00.0", "01:00.1")
    _, device = by_cdev(shared_bus, stack)
    assert answer(device) == (NOT_OWNED, False, errno.EINVAL)
    stack.callback(os.close, shared_bus.open_cdev("01:00.1"))
    assert answer(device) == (NOT_OWNED, False, errno.EINVAL)


def test_other_bound_to_another_iommufd(shared_bus: Played, stack: ExitStack) -> None:
    shared_bus.give("01:00.0", "01:00.1")
    _, device = by_cdev(shared_bus, stack)
    second = shared_bus.iommufd()
    stack.callback(os.close, second)
    stack.callback(os.close, shared_bus.bound("01:00.1", second))
    assert answer(device) == (NOT_OWNED, False, errno.EINVAL)


def test_other_group_opened_elsewhere(shared_bus: Played, stack: ExitStack) -> None:
    shared_bus.give("01:00.0", "01:00.1")
    _, device = by_cdev(shared_bus, stack)
    stack.callback(os.close, calls.open_group(shared_bus.directory, 3))
    assert answer(device) == (NOT_OWNED, False, errno.EINVAL)


# --- seen from a group ------------------------------------------------------------------------


def test_by_group_its_own_fd_is_enough_for_a_sibling(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1")
    group, device = by_group(demo, stack)
    info = calls.hot_reset_info(device)
    assert [one.group for one in info.dependents] == [12, 12]
    assert not info.by_devid
    calls.hot_reset(device, [group])


def test_by_group_an_unbound_sibling_forbids_it(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0")
    outside.unbind_driver(demo.directory, OTHER)
    group, device = by_group(demo, stack)
    assert errno_of(lambda: calls.hot_reset(device, [group])) == errno.EINVAL


@pytest.mark.parametrize("state", ["not open", "unbound cdev", "bound elsewhere"])
def test_by_group_another_group(shared_bus: Played, stack: ExitStack, state: str) -> None:
    """OK with its fd, no container needed; nothing can be done against a bound cdev."""
    shared_bus.give("01:00.0", "01:00.1")
    group, device = by_group(shared_bus, stack)
    assert errno_of(lambda: calls.hot_reset(device, [group])) == errno.EINVAL
    if state == "unbound cdev":
        stack.callback(os.close, shared_bus.open_cdev("01:00.1"))
    if state == "bound elsewhere":
        iommufd = shared_bus.iommufd()
        stack.callback(os.close, iommufd)
        stack.callback(os.close, shared_bus.bound("01:00.1", iommufd))
        refused = errno_of(lambda: calls.open_group(shared_bus.directory, 3))
        assert refused == errno.EBUSY, "the fd that would allow it cannot be had"
        return
    other = calls.open_group(shared_bus.directory, 3)
    stack.callback(os.close, other)
    calls.hot_reset(device, [group, other])


def test_wrong_fds(shared_bus: Played, stack: ExitStack) -> None:
    shared_bus.give("01:00.0", "01:00.1")
    group, device = by_group(shared_bus, stack)
    wrong: dict[int, Callable[[], object]] = {
        0: lambda: calls.hot_reset(device),
        1: lambda: calls.hot_reset(device, [device]),
        2: lambda: calls.hot_reset(device, [group] * 3),
    }
    for call in wrong.values():
        assert errno_of(call) == errno.EINVAL
    assert errno_of(lambda: calls.hot_reset(device, [9999])) == errno.EBADF


def test_fds_on_a_cdev_are_wrong(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1", "02:00.0")
    _, device = by_cdev(demo, stack)
    group = calls.open_group(demo.directory, 13)
    stack.callback(os.close, group)
    assert errno_of(lambda: calls.hot_reset(device, [group])) == errno.EINVAL


# --- what cannot be reset ---------------------------------------------------------------------


def test_room_for_the_answer(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1")
    _, device = by_cdev(demo, stack)
    with pytest.raises(calls.NoSpaceError) as raised:
        calls.hot_reset_info(device, room=1)
    assert (raised.value.errno, raised.value.count) == (errno.ENOSPC, 2)


def test_a_bridge_between_forbids_it(standard: Played, stack: ExitStack) -> None:
    """The set of the NICs behind a PCI bridge is their bus; that of the bus above has a bridge."""
    outside.unbind_driver(standard.directory, "0000:03:00.0")
    standard.give("04:01.0", "04:02.0")
    iommufd = standard.iommufd()
    stack.callback(os.close, iommufd)
    device = standard.bound("04:01.0", iommufd)
    stack.callback(os.close, device)
    info = calls.hot_reset_info(device)
    assert [one.device for one in info.dependents] == ["0000:04:01.0", "0000:04:02.0"]
    calls.hot_reset(device)
    assert errno_of(lambda: calls.device_reset(device)) == errno.EINVAL, "bus alone is no reset"


def test_a_reset_may_be_allowed_and_fail(standard: Played, stack: ExitStack) -> None:
    standard.give("02:00.0")
    iommufd = standard.iommufd()
    stack.callback(os.close, iommufd)
    device = standard.bound("02:00.0", iommufd)
    stack.callback(os.close, device)
    assert calls.hot_reset_info(device).owned
    assert errno_of(lambda: calls.hot_reset(device)) == errno.ENOTTY
    calls.device_reset(device)


@pytest.mark.parametrize(("at", "wanted"), [("01:10.0", errno.EINVAL), ("02:10.0", errno.ENODEV)])
def test_virtual_functions_have_none(sriov: Played, stack: ExitStack, at: str, wanted: int) -> None:
    sriov.give(at)
    iommufd = sriov.iommufd()
    stack.callback(os.close, iommufd)
    device = sriov.bound(at, iommufd)
    stack.callback(os.close, device)
    assert errno_of(lambda: calls.hot_reset(device)) == wanted


def test_a_device_on_a_root_bus_has_none(sriov: Played, stack: ExitStack) -> None:
    outside.change_machine(sriov.directory, no_bus_reset=("0000:01:00.0",))
    sriov.give("01:10.0")
    iommufd = sriov.iommufd()
    stack.callback(os.close, iommufd)
    device = sriov.bound("01:10.0", iommufd)
    stack.callback(os.close, device)
    assert errno_of(lambda: calls.hot_reset_info(device)) == errno.ENODEV


def test_last_close_resets_the_set_where_no_function_reset_is(standard: Played) -> None:
    outside.unbind_driver(standard.directory, "0000:03:00.0")
    standard.give("04:01.0", "04:02.0")
    iommufd = standard.iommufd()
    first, second = standard.bound("04:01.0", iommufd), standard.bound("04:02.0", iommufd)
    os.close(iommufd)
    os.close(first)
    assert outside.resets(standard.directory) == []
    os.close(second)
    seen = outside.resets(standard.directory)
    assert {(one.kind, one.device) for one in seen} == {
        ("hot", "0000:04:01.0"),
        ("hot", "0000:04:02.0"),
    }


def test_a_pending_unbind_holds_the_lock(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1")
    _, device = by_cdev(demo, stack)
    outside.unbind_driver(demo.directory, CALLER)
    assert errno_of(lambda: calls.device_reset(device)) == errno.EAGAIN
    assert errno_of(lambda: calls.hot_reset(device)) == errno.EAGAIN
