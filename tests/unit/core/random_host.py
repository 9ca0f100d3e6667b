"""Hosts at random: groups of one and several functions, bridges, drivers of all kinds."""

from __future__ import annotations

from random import Random

from isod.model.host import Device, HostSnapshot

from .build import at, bridge, device, host

_DRIVERS = (None, None, "e1000e", "nvme", "vfio-pci", "vfio-pci", "pci-stub")


def random_host(dice: Random) -> HostSnapshot:
    """One to six groups; each is one function, several, several behind a bridge, or a physical
    function with a virtual one."""
    devices: list[Device] = []
    for group in range(1, dice.randint(1, 6) + 1):
        bus = f"{group:02x}"
        shape = dice.choice(("one", "several", "bridge", "virtual"))
        if shape == "bridge":
            devices.append(bridge(f"{bus}:00.0", group, dice.choice((None, "pcieport", "shpchp"))))
            places = [f"{group + 64:02x}:{slot:02x}.0" for slot in range(1, dice.randint(2, 4))]
        elif shape == "several":
            places = [f"{bus}:00.{function}" for function in range(dice.randint(2, 4))]
        else:
            places = [f"{bus}:00.0"]
        resets = dice.choice((("flr", "bus"), ("bus",), ()))
        devices += [
            device(place, group, dice.choice(_DRIVERS), reset_methods=resets) for place in places
        ]
        if shape == "virtual":
            parent = at(places[0])
            devices.append(device(f"{bus}:10.0", group + 16, None, physical_function=parent))
    return host(*devices)
