"""The language of the sequences: what two clients, isod and an administrator do to a host.

An operation is a line of words: who, what, and on what. Devices are ``d0``, ``d1``, … of a scene;
files have names of their client's own. A name that is no file (its open failed, or was deleted by
the shrinking of a sequence) makes an operation void, on both kernels alike.

====================  ==============================================================================
a, b: the clients
====================  ==============================================================================
container C           open /dev/vfio/vfio
iommufd I             open /dev/iommu
group G d0            open the group of d0
cdev D d0             open d0's own node
set_container G C     put the group into the container
unset_container G     take it out
set_iommu C           choose type 1 v2
status G              ask for the group's state
device D G d0         get d0 from the group
bind D I              bind a cdev to an iommufd
ioas S I              allocate an address space, remembered as S
attach D S            attach a bound cdev to it
detach D              detach it
config D              read the ids of the device
reset D               reset the function
info D                ask what a hot reset would hit
hot D [G…]            hot reset, with the fds of these groups
map C, unmap C        map a page for DMA through a container, unmap it
dup F N               another fd of the same file
pass F N              hand the other client an fd, over a socket
close F               close an fd
====================  ==============================================================================

====================  ==============================================================================
isod: its port
====================  ==============================================================================
unbind d0             the step Unbind, from the driver that the device is on
bind d0               the step Bind, to vfio-pci
restore d0 DRIVER     the step Restore, to a driver or to ``none``
reset d0              the step Reset
probe d0 HOW          the step Probe: ``held``, ``group``, ``group-full``, ``iommufd-full``, …
fence d0              begin the step Fence; whether it ended is seen after each operation
open_group d0 a G D   the step OpenGroup for a client; its files are called so
open_iommufd d0 a I D the step OpenIommufd
====================  ==============================================================================

====================  ==============================================================================
root: an administrator
====================  ==============================================================================
override d0 DRIVER    write driver_override, or clear it with ``none``
release d0            unbind from a kernel driver
probe d0              let the kernel find a driver
====================  ==============================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

Sequence = tuple["Operation", ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """``who`` does ``what`` on ``on``."""

    who: str
    what: str
    on: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((f"{self.who}:", self.what, *self.on))


BEGIN = Operation("nobody", "begin")
END = Operation("nobody", "end")


def played(sequence: Sequence) -> Sequence:
    """What there is an outcome of: the operations, and a look before and after them."""
    return (BEGIN, *sequence, END)


@dataclass(frozen=True)
class Scene:
    """What a sequence plays on: devices by name (``0000:01:00.0``), and what they are on at its
    beginning (None: no driver)."""

    devices: tuple[str, ...]
    drivers: tuple[str | None, ...]
    resets: tuple[str | None, ...]
    """What is written to each device's ``reset_method`` (None: what the kernel chooses)."""

    def device(self, name: str) -> str:
        """What ``d0`` stands for."""
        return self.devices[int(name[1:])]

    def __str__(self) -> str:
        names = (f"d{number}" for number in range(len(self.devices)))
        every = zip(names, self.devices, self.drivers, self.resets, strict=True)
        return ", ".join(
            f"{name} is {device} on {driver}"
            + ("" if resets is None else f", its reset methods set to {resets!r}")
            for name, device, driver, resets in every
        )
