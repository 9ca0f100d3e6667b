"""Cdevs and iommufds answer as drivers/vfio/device_cdev.c and iommufd do."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from isod.kernel.simulated import calls, outside

from .played import Played, errno_of


@pytest.fixture
def pair(demo: Played) -> Played:
    demo.give("01:00.0", "01:00.1")
    return demo


def test_many_open_a_cdev_and_none_can_use_it(pair: Played, stack: ExitStack) -> None:
    first, second = pair.open_cdev("01:00.0"), pair.open_cdev("01:00.0")
    stack.callback(os.close, first)
    stack.callback(os.close, second)
    for call in (
        lambda: calls.device_reset(first),
        lambda: calls.hot_reset_info(first),
        lambda: calls.hot_reset(first),
        lambda: calls.config_read(first, 0, 4),
        lambda: calls.attach(first, 1),
        lambda: calls.detach(first),
    ):
        assert errno_of(call) == errno.EINVAL
    assert pair.device("01:00.0").enabled == 0
    assert pair.use("01:00.0").idle, "an unbound cdev shows in no probe"
    os.close(calls.open_group(pair.directory, 12))


def test_bind_takes_the_device_and_its_group(pair: Played, stack: ExitStack) -> None:
    iommufd, other = pair.iommufd(), pair.iommufd()
    first, second = pair.open_cdev("01:00.0"), pair.open_cdev("01:00.0")
    sibling = pair.open_cdev("01:00.1")
    for descriptor in (iommufd, other, first, second, sibling):
        stack.callback(os.close, descriptor)
    assert calls.bind_iommufd(first, iommufd) == 1
    assert errno_of(lambda: calls.bind_iommufd(first, iommufd)) == errno.EINVAL
    assert errno_of(lambda: calls.bind_iommufd(second, iommufd)) == errno.EINVAL
    assert errno_of(lambda: calls.bind_iommufd(sibling, other)) == errno.EPERM
    assert calls.bind_iommufd(sibling, iommufd) == 2
    assert errno_of(lambda: calls.open_group(pair.directory, 12)) == errno.EBUSY
    assert pair.device("01:00.0").enabled == 1
    assert pair.use("01:00.0").busy_groups == (12,)


def test_bind_refuses_while_the_group_is_open(pair: Played, stack: ExitStack) -> None:
    iommufd, device = pair.iommufd(), pair.open_cdev("01:00.0")
    stack.callback(os.close, iommufd)
    stack.callback(os.close, device)
    group = calls.open_group(pair.directory, 12)
    assert errno_of(lambda: calls.bind_iommufd(device, iommufd)) == errno.EBUSY
    os.close(group)
    calls.bind_iommufd(device, iommufd)


def test_bind_wants_an_iommufd_and_a_cdev(pair: Played, stack: ExitStack) -> None:
    device, container = pair.open_cdev("01:00.0"), pair.container()
    stack.callback(os.close, device)
    stack.callback(os.close, container)
    assert errno_of(lambda: calls.bind_iommufd(device, -1)) == errno.EINVAL
    assert errno_of(lambda: calls.bind_iommufd(device, 9999)) == errno.EBADF
    assert errno_of(lambda: calls.bind_iommufd(device, container)) == errno.EBADFD
    pair.give("02:00.0")
    container, group = pair.in_container(13)
    by_group = calls.get_device_fd(group, "0000:02:00.0")
    for descriptor in (container, group, by_group):
        stack.callback(os.close, descriptor)
    assert errno_of(lambda: calls.bind_iommufd(by_group, 0)) == errno.EINVAL
    assert errno_of(lambda: calls.attach(by_group, 1)) == errno.ENOTTY


def test_a_kernel_driver_in_the_group_refuses_the_bind(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0")
    iommufd, device = demo.iommufd(), demo.open_cdev("01:00.0")
    stack.callback(os.close, iommufd)
    stack.callback(os.close, device)
    assert errno_of(lambda: calls.bind_iommufd(device, iommufd)) == errno.EPERM


@pytest.mark.parametrize(
    ("host", "wanted"), [("no-isolated-msi", errno.EPERM), ("firmware-mapping", errno.EINVAL)]
)
def test_the_platform_may_refuse_the_bind(
    tmp_path: Path, stack: ExitStack, host: str, wanted: int
) -> None:
    played = Played(tmp_path / "host", host)
    played.give("01:00.0")
    iommufd, device = played.iommufd(), played.open_cdev("01:00.0")
    stack.callback(os.close, iommufd)
    stack.callback(os.close, device)
    assert errno_of(lambda: calls.bind_iommufd(device, iommufd)) == wanted
    assert played.device("01:00.0").enabled == 0


def test_a_device_keeps_its_iommufd(pair: Played, stack: ExitStack) -> None:
    iommufd = pair.iommufd()
    device = pair.bound("01:00.0", iommufd)
    stack.callback(os.close, device)
    os.close(iommufd)
    other, sibling = pair.iommufd(), pair.open_cdev("01:00.1")
    stack.callback(os.close, other)
    stack.callback(os.close, sibling)
    assert errno_of(lambda: calls.bind_iommufd(sibling, other)) == errno.EPERM
    assert calls.hot_reset_info(device).owned


def test_ids_are_given_again(pair: Played, stack: ExitStack) -> None:
    iommufd = pair.iommufd()
    stack.callback(os.close, iommufd)
    first = pair.bound("01:00.0", iommufd)
    stack.callback(os.close, pair.bound("01:00.1", iommufd))
    os.close(first)
    again = pair.open_cdev("01:00.0")
    stack.callback(os.close, again)
    assert calls.bind_iommufd(again, iommufd) == 1


def test_a_group_is_attached_to_one_address_space(pair: Played, stack: ExitStack) -> None:
    iommufd = pair.iommufd()
    stack.callback(os.close, iommufd)
    first, second = pair.bound("01:00.0", iommufd), pair.bound("01:00.1", iommufd)
    stack.callback(os.close, first)
    stack.callback(os.close, second)
    one, other = calls.ioas_alloc(iommufd), calls.ioas_alloc(iommufd)
    calls.attach(first, one)
    assert errno_of(lambda: calls.attach(second, other)) == errno.EINVAL
    calls.attach(second, one)
    # Attached already, it takes the first one along.
    calls.attach(second, other)
    calls.detach(first)
    assert errno_of(lambda: calls.attach(first, one)) == errno.EINVAL
    calls.attach(first, other)


def test_address_spaces(pair: Played, stack: ExitStack) -> None:
    iommufd = pair.iommufd()
    stack.callback(os.close, iommufd)
    device = pair.bound("01:00.0", iommufd)
    assert errno_of(lambda: calls.attach(device, 7)) == errno.ENOENT
    space = calls.ioas_alloc(iommufd)
    assert space == 2
    calls.attach(device, space)
    calls.ioas_map(iommufd, space, 0x1000, 0x2000)
    overlap = errno_of(lambda: calls.ioas_map(iommufd, space, 0x2000, 0x1000))
    assert overlap == errno.EADDRINUSE
    assert errno_of(lambda: calls.destroy(iommufd, space)) == errno.EBUSY
    assert calls.ioas_unmap(iommufd, space, 0, 0x4000) == 0x2000
    calls.detach(device)
    calls.destroy(iommufd, space)
    assert errno_of(lambda: calls.destroy(iommufd, space)) == errno.ENOENT
    mode = errno_of(lambda: calls.set_rlimit_mode(iommufd, per_process=True))
    assert mode == errno.EBUSY
    os.close(device)
    calls.set_rlimit_mode(iommufd, per_process=True)


def test_open_and_last_close_reset_the_function(pair: Played) -> None:
    iommufd = pair.iommufd()
    device = pair.bound("01:00.0", iommufd)
    os.close(iommufd)
    copy = os.dup(device)
    os.close(device)
    assert [seen.cause for seen in outside.resets(pair.directory)] == ["open"]
    os.close(copy)
    assert [seen.cause for seen in outside.resets(pair.directory)] == ["open", "close"]
    assert pair.device("01:00.0").enabled == 0


def test_an_unbound_copy_that_closes_along_changes_nothing(pair: Played) -> None:
    iommufd = pair.iommufd()
    bound, unbound = pair.bound("01:00.0", iommufd), pair.open_cdev("01:00.0")
    for descriptor in (iommufd, bound, unbound):
        os.close(descriptor)
    assert [seen.cause for seen in outside.resets(pair.directory)] == ["open", "close"]
    enable = pair.directory / "sys/bus/pci/devices/0000:01:00.0/enable"
    assert enable.read_text() == "0\n"
