"""What the machine that this runs on has for scenes."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from isod.kernel.simulated.topology import SimulatedHost
from tests.lab.hardware import Function, Hardware

from .generate import Stock
from .side import Side
from .twin import failing_buses, natives, twin

_BRIDGE = "0604"


def prepared(side: Side) -> tuple[SimulatedHost, Stock]:
    """The machine's twin and its stock, with every device of scenes on no driver and the default
    reset methods: those may be others than at first, when functions came one after the other."""
    native = natives()
    sets = _sets()
    devices = sorted({device for devices in sets for device in devices})
    for device in devices:
        side.arrange(device, None, None)
    host = twin(native, failing_buses(devices))
    methods = {place.name: place.resets or () for place in host.places}
    return host, Stock(sets, native, {device: methods[device] for device in devices})


def _sets() -> dict[tuple[str, ...], float]:
    """Each bus below a port, and pairs of buses, with all of their functions: what is left out of
    a scene would come from earlier ones, and tell in answers about its group or bus."""
    buses: dict[str, list[Function]] = defaultdict(list)
    for one in Hardware().functions():
        if one.parent is not None and one.kind != _BRIDGE:
            buses[one.parent].append(one)
    sets: dict[tuple[str, ...], float] = {}
    for functions in buses.values():
        names = tuple(one.address for one in functions)
        # A conventional bus takes a second for each reset (pci_bridge_wait_for_secondary_bus): as
        # many sequences as are done when those of the other buses are.
        slow = 0.1 if functions[0].slot != functions[-1].slot else 1.0
        sets[names] = (4.0 if len(names) > 1 else 1.0) * slow
    quick = sorted(names for names, weight in sets.items() if weight >= 1)
    return sets | {one + other: 0.5 for one, other in pairwise(quick)}
