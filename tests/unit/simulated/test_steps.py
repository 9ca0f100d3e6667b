"""The port's steps: what they change, what they refuse, and that nothing stays open."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from isod.kernel.simulated import calls, outside
from isod.model.address import Address
from isod.model.reason import Reason, RefusedError
from isod.model.step import (
    Bind,
    GrantNodes,
    GroupName,
    HandOver,
    OpenGroup,
    OpenIommufd,
    Probe,
    Reset,
    Restore,
    RevokeNodes,
    Step,
    Unbind,
)

from .played import Played, reason_of

NVME = Address.parse("02:00.0")


def descriptors() -> set[str]:
    """The fds of this process; the one that lists them is gone already."""
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def test_a_device_goes_to_vfio_and_comes_back_the_same(demo: Played) -> None:
    before = demo.device("02:00.0")
    demo.run(Unbind(NVME, before.generation, "nvme", "vfio-pci"))
    unbound = demo.device("02:00.0")
    assert (unbound.driver, unbound.driver_override, unbound.enabled) == (None, "vfio-pci", 0)
    demo.run(Bind(NVME, before.generation, "vfio-pci"))
    bound = demo.device("02:00.0")
    assert (bound.driver, bound.cdev, bound.enabled) == ("vfio-pci", "vfio0", 0)
    demo.fence("02:00.0")
    demo.run(Restore(NVME, before.generation, "nvme", None))
    assert demo.device("02:00.0") == before


def test_every_step_may_be_run_again(demo: Played) -> None:
    before = demo.device("02:00.0")
    steps: list[Step] = [
        Unbind(NVME, before.generation, "nvme", "vfio-pci"),
        Bind(NVME, before.generation, "vfio-pci"),
    ]
    for step in [*steps, *steps]:
        demo.run(step)
    demo.fence("02:00.0")
    demo.fence("02:00.0")
    restore = Restore(NVME, before.generation, "nvme", None)
    demo.run(restore)
    demo.run(restore)
    assert demo.device("02:00.0") == before


def test_a_former_override_comes_back(demo: Played) -> None:
    outside.write(demo.directory, NVME.name, "driver_override", "nvme")
    before = demo.device("02:00.0")
    assert before.driver_override == "nvme"
    demo.give("02:00.0")
    demo.fence("02:00.0")
    demo.run(Restore(NVME, before.generation, "nvme", "nvme"))
    assert demo.device("02:00.0") == before


def test_a_bridge_is_unbound_without_an_override(standard: Played) -> None:
    bridge = standard.device("03:00.0")
    standard.run(Unbind(bridge.address, bridge.generation, "shpchp", None))
    now = standard.device("03:00.0")
    assert (now.driver, now.driver_override) == (None, None)
    standard.restore("03:00.0", "shpchp")
    assert standard.device("03:00.0") == bridge


def test_steps_for_another_generation_touch_nothing(demo: Played) -> None:
    old = demo.device("02:00.0").generation
    outside.unplug(demo.directory, NVME.name)
    outside.replug(demo.directory, NVME.name)
    now = demo.device("02:00.0")
    for step in (
        Unbind(NVME, old, "nvme", "vfio-pci"),
        Bind(NVME, old, "vfio-pci"),
        Reset(NVME, old, required=True),
    ):
        assert reason_of(lambda step=step: demo.run(step)) is Reason.gone  # type: ignore[misc]
    demo.run(Restore(NVME, old, None, "vfio-pci"))
    assert demo.device("02:00.0") == now


def test_what_is_on_the_wrong_driver_is_left_alone(demo: Played) -> None:
    device = demo.device("02:00.0")
    wrong = Unbind(NVME, device.generation, "ahci", "vfio-pci")
    assert reason_of(lambda: demo.run(wrong)) is Reason.in_use_by_driver
    bind = Bind(NVME, device.generation, "vfio-pci")
    assert reason_of(lambda: demo.run(bind)) is Reason.in_use_by_driver
    assert demo.device("02:00.0") == device
    demo.give("02:00.0")
    restore = Restore(NVME, device.generation, "nvme", None)
    assert reason_of(lambda: demo.run(restore)) is Reason.kernel, "unfenced"


@pytest.mark.parametrize("at", ["03:00.0", "41:00.0"])
def test_what_vfio_does_not_take(demo: Played, at: str) -> None:
    """A bridge by its header, a NIC without a group."""
    device = demo.device(at)
    if device.driver is not None:
        demo.run(Unbind(device.address, device.generation, device.driver, "vfio-pci"))
    bind = Bind(device.address, device.generation, "vfio-pci")
    assert reason_of(lambda: demo.run(bind)) is Reason.kernel
    missing = Bind(device.address, device.generation, "mlx5_vfio_pci")
    assert reason_of(lambda: demo.run(missing)) is Reason.unsupported
    demo.restore(at, device.driver)
    assert demo.device(at) == device


def test_drivers_probe_is_silent_where_nothing_fits(demo: Played) -> None:
    demo.give("02:00.0")
    demo.fence("02:00.0")
    outside.write(demo.directory, NVME.name, "driver_override", "nothing")
    outside.probe_drivers(demo.directory, NVME.name)
    assert demo.device("02:00.0").driver is None
    with pytest.raises(RefusedError) as raised:
        demo.run(Restore(NVME, demo.device("02:00.0").generation, "nvme", "nothing"))
    assert raised.value.refusal.details["errno"] == errno.ENODEV


@pytest.mark.parametrize("hand_over", ["iommufd", "group", "nodes"])
@pytest.mark.parametrize("full", [False, True])
def test_a_probe_leaves_no_trace(demo: Played, hand_over: HandOver, full: bool) -> None:
    demo.give("02:00.0")
    before = descriptors()
    demo.run(Probe(demo.group(13), hand_over, NVME, full=full))
    assert descriptors() == before
    assert demo.use("02:00.0").idle
    os.close(calls.open_group(demo.directory, 13))


@pytest.mark.parametrize("hand_over", ["iommufd", "group"])
def test_a_probe_sees_other_owners(demo: Played, stack: ExitStack, hand_over: HandOver) -> None:
    first = Probe(demo.group(13), hand_over, NVME, held_only=True)
    demo.run(first)
    demo.give("02:00.0")
    with os.fdopen(calls.open_group(demo.directory, 13)):
        for probe in (first, Probe(demo.group(13), hand_over, NVME)):
            assert reason_of(lambda probe=probe: demo.run(probe)) is Reason.held_outside  # type: ignore[misc]
    iommufd = demo.iommufd()
    stack.callback(os.close, iommufd)
    stack.callback(os.close, demo.bound("02:00.0", iommufd))
    assert reason_of(lambda: demo.run(first)) is Reason.held_outside


@pytest.mark.parametrize("hand_over", ["iommufd", "group"])
def test_a_probe_tells_what_blocks_the_group(standard: Played, hand_over: HandOver) -> None:
    standard.give("04:01.0", "04:02.0")
    at = Address.parse("04:01.0")
    with pytest.raises(RefusedError) as raised:
        standard.run(Probe(standard.group(7), hand_over, at))
    refusal = raised.value.refusal
    assert refusal.reason is Reason.not_viable
    assert refusal.details["drivers"] == {"pci:0000:03:00.0": "shpchp"}
    outside.unbind_driver(standard.directory, "0000:03:00.0")
    standard.run(Probe(standard.group(7), hand_over, at, full=True))


@pytest.mark.parametrize(
    ("host", "reason"),
    [("no-isolated-msi", Reason.no_isolated_msi), ("firmware-mapping", Reason.firmware_mapping)],
)
@pytest.mark.parametrize("hand_over", ["iommufd", "group"])
def test_only_a_full_probe_sees_the_platform(
    tmp_path: Path, host: str, reason: Reason, hand_over: HandOver
) -> None:
    played = Played(tmp_path / "host", host)
    played.give("01:00.0")
    at, before = Address.parse("01:00.0"), descriptors()
    played.run(Probe(played.group(2), hand_over, at))
    full = Probe(played.group(2), hand_over, at, full=True)
    assert reason_of(lambda: played.run(full)) is reason
    assert descriptors() == before
    if hand_over == "group":
        opening = OpenGroup((played.group(2),), (at,))
        assert reason_of(lambda: played.run(opening)) is reason
        assert descriptors() == before


def test_a_group_of_another_generation_is_gone(demo: Played) -> None:
    demo.give("02:00.0")
    stale = GroupName(13, demo.group(13).generation + 1)
    for step in (
        Probe(stale, "iommufd", NVME),
        OpenGroup((stale,), (NVME,)),
        GrantNodes((stale,), 1000),
    ):
        assert reason_of(lambda step=step: demo.run(step)) is Reason.gone  # type: ignore[misc]


def test_open_iommufd_gives_unbound_cdevs(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1")
    wanted = (Address.parse("01:00.0"), Address.parse("01:00.1"))
    result = demo.run(OpenIommufd(wanted))
    for file in result.files:
        stack.callback(os.close, file.descriptor)
        assert not os.get_inheritable(file.descriptor)
    assert [file.role for file in result.files] == ["iommufd", "device", "device"]
    assert [file.address for file in result.files] == [None, *wanted]
    assert [file.state for file in result.files] == [None, "unbound", "unbound"]
    for file in result.files[1:]:
        calls.bind_iommufd(file.descriptor, result.files[0].descriptor)
    more = demo.run(OpenIommufd(wanted[:1], iommufd=False))
    assert [file.role for file in more.files] == ["device"]
    os.close(more.files[0].descriptor)


def test_an_open_that_fails_half_way_leaves_nothing(demo: Played) -> None:
    demo.give("01:00.0")
    before = descriptors()
    opening = OpenIommufd((Address.parse("01:00.0"), Address.parse("02:00.0")))
    assert reason_of(lambda: demo.run(opening)) is Reason.unsupported
    group = OpenGroup((demo.group(12),), (Address.parse("01:00.0"),))
    assert reason_of(lambda: demo.run(group)) is Reason.not_viable
    outside.unbind_driver(demo.directory, "0000:01:00.1")
    foreign = OpenGroup((demo.group(12),), (Address.parse("02:00.0"),))
    assert reason_of(lambda: demo.run(foreign)) is Reason.gone
    assert descriptors() == before
    os.close(calls.open_group(demo.directory, 12))


def test_open_group_gives_everything_ready(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1")
    wanted = (Address.parse("01:00.0"), Address.parse("01:00.1"))
    result = demo.run(OpenGroup((demo.group(12),), wanted))
    for file in result.files:
        stack.callback(os.close, file.descriptor)
    roles = [file.role for file in result.files]
    assert roles == ["container", "group", "device", "device"]
    calls.map_dma(result.files[0].descriptor, 0, 4096)
    calls.hot_reset(result.files[2].descriptor, [result.files[1].descriptor])
    assert demo.use("01:00.1").open == (wanted[1],)


def test_a_raw_container_is_left_to_the_client(demo: Played, stack: ExitStack) -> None:
    demo.give("02:00.0")
    result = demo.run(OpenGroup((demo.group(13),), (NVME,), ready=False))
    for file in result.files:
        stack.callback(os.close, file.descriptor)
    assert [file.role for file in result.files] == ["container", "group"]
    container, group = (file.descriptor for file in result.files)
    calls.set_container(group, container)


def test_without_a_container_groups_are_not_handed_out(demo: Played) -> None:
    demo.give("02:00.0")
    outside.change_machine(demo.directory, container=False)
    assert not demo.kernel.features().container
    for step in (OpenGroup((demo.group(13),), (NVME,)), Probe(demo.group(13), "group", NVME)):
        assert reason_of(lambda step=step: demo.run(step)) is Reason.unsupported  # type: ignore[misc]


def test_resets_between_owners(standard: Played) -> None:
    nvme, pair = standard.device("02:00.0"), standard.device("04:01.0")
    standard.run(Reset(nvme.address, nvme.generation, required=True))
    seen = outside.resets(standard.directory)
    assert [(one.kind, one.device, one.cause) for one in seen] == [
        ("function", nvme.address.name, "sysfs")
    ]
    required = Reset(pair.address, pair.generation, required=True)
    assert reason_of(lambda: standard.run(required)) is Reason.kernel
    tried = standard.run(Reset(pair.address, pair.generation, required=False))
    assert tried.warnings
    outside.write(standard.directory, nvme.address.name, "reset_method", "")
    disabled = Reset(nvme.address, nvme.generation, required=True)
    assert reason_of(lambda: standard.run(disabled)) is Reason.kernel
    port = standard.device("00:01.0")
    never = Reset(port.address, port.generation, required=True)
    assert reason_of(lambda: standard.run(never)) is Reason.unsupported


def test_rights_on_nodes_are_all_or_none(demo: Played) -> None:
    demo.give("02:00.0")
    both = (demo.group(13), demo.group(12))
    assert reason_of(lambda: demo.run(GrantNodes(both, 1000))) is Reason.gone
    assert outside.acl(demo.directory, "vfio/13") == {}
    demo.give("01:00.0", "01:00.1")
    demo.run(GrantNodes(both, 1000))
    demo.run(GrantNodes(both, 1001))
    demo.run(RevokeNodes(both, 1000))
    assert set(outside.acl(demo.directory, "vfio/13")) == {1001}
    demo.fence("02:00.0")
    demo.run(RevokeNodes(both, 1001))
    assert outside.acl(demo.directory, "vfio/12") == {}
    demo.give("02:00.0")
    assert outside.acl(demo.directory, "vfio/13") == {}, "a node that is made anew has no ACL"


def test_a_fence_is_started_and_nothing_else_is(demo: Played) -> None:
    device = demo.device("02:00.0")
    with pytest.raises(TypeError):
        demo.kernel.start(Bind(NVME, device.generation, "vfio-pci"))
