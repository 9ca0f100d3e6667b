"""How far the NUMA nodes are from each other, as firmware says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from .tree import Directory, ShortageError, UnreadableError, decimal, names_in

_NODE = re.compile(r"node(\d{1,6})")


def scan_distances(root: Path) -> Mapping[int, Mapping[int, int]]:
    """The distance from each node to each, as below ``/sys/devices/system/node/nodeN/distance``.

    A line has a number for every online node, in the order of their numbers, and the directories
    are those of the online nodes (drivers/base/node.c, ``node_read_distance``; Documentation/ABI/
    stable/sysfs-devices-node). A line of another length says nothing that can be told apart, so
    its node is left out; so is one that cannot be read. A kernel without NUMA has none at all.
    """
    place = root / "sys" / "devices" / "system" / "node"
    nodes = sorted(int(found[1]) for found in map(_NODE.fullmatch, names_in(place)) if found)
    lines: dict[int, Mapping[int, int]] = {}
    for node in nodes:
        distances = _distances(place / f"node{node}")
        if len(distances) == len(nodes):
            lines[node] = MappingProxyType(dict(zip(nodes, distances, strict=True)))
    return MappingProxyType(lines)


def _distances(place: Path) -> tuple[int, ...]:
    try:
        with Directory(place) as directory:
            text = directory.text("distance")
    except ShortageError:
        raise
    except (FileNotFoundError, UnreadableError):
        return ()
    numbers = [decimal(word) for word in (text or "").split()]
    known = tuple(number for number in numbers if number is not None and number > 0)
    return known if len(known) == len(numbers) else ()
