"""Hosts at random: groups of one and several functions, bridges, virtual functions, mediated
devices, groups that share a bus, drivers and kinds of all sorts."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from isod.model.host import Device, HostSnapshot

from .build import at, bridge, device, host

VENDORS = ("8086", "10de")
CLASSES = ("020000", "030000", "010802")
DRIVERS = ("e1000e", "nvme", "shpchp", "pci-stub")
_DRIVERS = (None, None, "e1000e", "nvme", "vfio-pci", "vfio-pci", "pci-stub")
_SHAPES = ("one", "several", "several", "bridge", "virtual", "mediated", "shared bus")


def random_host(dice: Random) -> HostSnapshot:
    """Two to six places of a random shape; each has a group or several."""
    devices: list[Device] = []
    for group in range(1, dice.randint(2, 6) + 1):
        devices += _place(dice, dice.choice(_SHAPES), group)
    return host(*devices)


def _place(dice: Random, shape: str, group: int) -> list[Device]:
    bus = f"{group:02x}"
    old = shape in {"bridge", "shared bus"} and dice.random() < 0.5
    resets = ("bus",) if old else dice.choice((("flr", "bus"), ("bus",), ()))

    def function(short: str, group: int, **facts: object) -> Device:
        kind = {"vendor": dice.choice(VENDORS), "device_class": dice.choice(CLASSES)}
        driver = dice.choice(_DRIVERS)
        return device(short, group, driver, reset_methods=resets, **kind, **facts)

    match shape:
        case "one":
            return [function(f"{bus}:00.0", group)]
        case "several":
            return [function(f"{bus}:00.{n}", group) for n in range(dice.randint(2, 4))]
        case "bridge":
            below = f"{group + 64:02x}"
            driver = dice.choice((None, "pcieport", "shpchp"))
            above = bridge(f"{bus}:00.0", group, driver, below=below)
            slots = range(1, dice.randint(2, 4))
            return [
                above,
                *(function(f"{below}:{n:02x}.0", group, bridges=(above.address,)) for n in slots),
            ]
        case "virtual":
            short = f"{bus}:00.0"
            count = dice.randint(0, 3)
            virtual = [
                function(f"{bus}:10.{n}", group + 16 * (n + 1), physical_function=at(short))
                for n in range(count)
            ]
            made = tuple(one.address for one in virtual)
            return [function(short, group, virtual_functions=made), *virtual]
        case "mediated":
            parent = function(f"{bus}:00.0", group)
            made_on = [
                replace(
                    device(
                        f"mdev:{group:08x}-1111-1111-1111-11111111111{n}",
                        group + 80 + 8 * n,
                        "vfio_mdev",
                    ),
                    parent=parent.address,
                )
                for n in range(dice.randint(0, 2))
            ]
            return [parent, *made_on]
        case _:
            above = bridge(f"{bus}:00.0", group, below=f"{group + 96:02x}")
            return [
                above,
                *(
                    function(
                        f"{group + 96:02x}:00.{n}", group + 96 + 16 * n, bridges=(above.address,)
                    )
                    for n in range(2)
                ),
            ]
