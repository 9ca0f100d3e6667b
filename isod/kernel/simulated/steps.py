"""The steps that change a device: unbind, bind, restore, reset, limit, rights on nodes."""

from __future__ import annotations

import errno

from isod.kernel.answering import silence
from isod.kernel.refusal import gone, group_gone, refused_by_kernel
from isod.model.address import Address
from isod.model.reason import Reason, RefusedError
from isod.model.step import (
    Bind,
    GrantNodes,
    GroupName,
    Limit,
    Reset,
    Restore,
    RevokeNodes,
    StepResult,
    Unbind,
)

from .binding import change_driver, drivers_probe, refuse_pending
from .entry import entered
from .faults import reset_fault
from .fence import finish_pending
from .host import Host
from .limits import set_limit
from .nodes import rights, set_rights
from .pci import function_reset_works
from .resets import log_reset


def run_unbind(host: Host, step: Unbind) -> StepResult:
    """Take a device from a kernel driver. Raises RefusedError."""
    name = step.address.name
    with entered(host):
        driver = _driver(host, step.address, step.generation)
        if host.machine.kind(driver) == "vfio":
            if driver == step.override:
                return StepResult()
            raise RefusedError(
                Reason.held_outside, f"{step.address} is on {driver}: somebody else gave it to VFIO"
            )
        if driver not in {None, step.driver}:
            raise _in_use(step.address, driver, f"now, not to {step.driver}")
        if step.override is not None:
            host.tree.set_override(name, step.override)
        if driver is not None:
            change_driver(host, name, None)
    return StepResult()


def run_bind(host: Host, step: Bind) -> StepResult:
    """Bind a driverless device to a vfio driver. Raises RefusedError."""
    name = step.address.name
    with entered(host):
        driver = _driver(host, step.address, step.generation)
        if driver not in {None, step.driver}:
            raise _in_use(step.address, driver, "already")
        if step.driver not in host.machine.drivers:
            raise RefusedError(
                Reason.unsupported,
                f"the driver {step.driver} is not loaded",
                hint=f"load the module of {step.driver} at boot (modules-load.d)",
            )
        host.tree.set_override(name, step.driver)
        if driver is None:
            number = _probe(host, name)
            if host.tree.driver(name) != step.driver:
                raise refused_by_kernel(
                    f"{step.driver} did not take {step.address}",
                    number or errno.ENODEV,
                    hint="a simulated device that vfio-pci does not take: see simulated/binding.py",
                )
    return StepResult()


def run_restore(host: Host, step: Restore) -> StepResult:
    """Put override and driver back. Nothing to do for a device that is gone.

    Raises RefusedError when it did not come out as it was.
    """
    name = step.address.name
    with entered(host):
        if host.tree.generation(name) != step.generation:
            return StepResult()
        driver = _driver(host, step.address, step.generation)
        if host.machine.kind(driver) == "vfio" and driver != step.driver:
            raise refused_by_kernel(f"{step.address} is still on {driver}, unfenced", errno.EBUSY)
        host.tree.set_override(name, step.override)
        probed = driver is None and (step.driver is not None or step.own)
        number = _probe(host, name) if probed else 0
        bound = host.tree.driver(name)
    if bound is None and step.driver is not None:
        raise refused_by_kernel(
            f"{step.driver} did not take {step.address} back", number or errno.ENODEV
        )
    if bound != step.driver and not step.own:
        return StepResult(warnings=(f"{step.address} is now bound to {bound}, not {step.driver}",))
    return StepResult()


def run_reset(host: Host, step: Reset) -> StepResult:
    """Reset one function. Raises RefusedError if it is required and failed."""
    name = step.address.name
    with entered(host):
        _driver(host, step.address, step.generation)
        # There is a file ``reset`` where there was a method at first; without any now it fails.
        if not (host.tree.devices / name / "reset_method").exists():
            if step.required:
                raise RefusedError(Reason.unsupported, f"{step.address} has no function reset")
            warning = f"{step.address} was not reset: it has no function reset"
            return StepResult(warnings=(warning,))
        refuse_pending(host, name)
        number = reset_fault(host.tree, [name])
        if not number and not function_reset_works(host, name):
            number = errno.ENOTTY
        if not number:
            log_reset(host, "function", name, "sysfs")
            dead = silence(host.tree.root, step.address)
            if dead is None:
                return StepResult()
            refusal = RefusedError(Reason.kernel, dead, devices=[str(step.address)])
        else:
            refusal = refused_by_kernel(f"{step.address.short} could not be reset", number)
    if step.required:
        raise refusal
    return StepResult(warnings=(str(refusal),))


def run_limit(host: Host, step: Limit) -> StepResult:
    """Record a memlock limit."""
    with entered(host):
        return StepResult(former_limit=set_limit(host, step))


def run_grant_nodes(host: Host, step: GrantNodes) -> StepResult:
    """Name a uid in the ACLs of the groups' nodes: all or none. Raises RefusedError."""
    with entered(host):
        for group in step.groups:
            check_group(host, group)
            if host.incarnation(group.number) is None:
                raise group_gone(group)
        for group in step.groups:
            node = group_node(host, group.number)
            set_rights(host, node, rights(host, node) | {step.uid})
    return StepResult()


def run_revoke_nodes(host: Host, step: RevokeNodes) -> StepResult:
    """Take a uid out of the ACLs of the nodes that are still there."""
    with entered(host):
        for group in step.groups:
            same = host.tree.group_generation(group.number) == group.generation
            if same and host.incarnation(group.number) is not None:
                node = group_node(host, group.number)
                set_rights(host, node, rights(host, node) - {step.uid})
    return StepResult()


def check_group(host: Host, group: GroupName) -> None:
    """Raises RefusedError (gone) unless the number still means the same group."""
    if host.tree.group_generation(group.number) != group.generation:
        raise group_gone(group)


def group_node(host: Host, number: int) -> str:
    """A group's node as a path below /dev."""
    fake = f"noiommu-{number}"
    return f"vfio/{fake}" if (host.tree.vfio / fake).exists() else f"vfio/{number}"


def _driver(host: Host, address: Address, generation: int) -> str | None:
    """The device's driver now, after unbinds that wait for nothing any more."""
    if address.bus != "pci":
        raise RefusedError(Reason.unsupported, f"{address} is no PCI device")
    if host.pending(address.name):
        finish_pending(host, host.tree.group(address.name))
    if host.tree.generation(address.name) != generation:
        raise gone(address)
    return host.tree.driver(address.name)


def _probe(host: Host, name: str) -> int:
    try:
        drivers_probe(host, name)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _in_use(address: Address, driver: str | None, how: str) -> RefusedError:
    return RefusedError(
        Reason.in_use_by_driver, f"{address} is bound to {driver} {how}", devices=[str(address)]
    )
