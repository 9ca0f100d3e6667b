"""How far devices are from NUMA nodes."""

from __future__ import annotations

from collections.abc import Iterable

from isod.model.host import Device, HostSnapshot

# What firmware says where it does not measure (include/linux/topology.h, LOCAL_DISTANCE and
# REMOTE_DISTANCE); the kernel's own default.
_HERE, _ELSEWHERE = 10, 20
# The kernel's NUMA_NO_NODE is near to nothing: behind the farthest that a line can say (255).
_NOWHERE = 256


def distance(snapshot: HostSnapshot, device: Device, nodes: Iterable[int]) -> int:
    """The sum of the kernel's distances from the device's node to these; 0 without any. Between
    nodes of which the kernel says nothing, the same node is nearer than another."""
    return sum(_between(snapshot, device.numa_node, node) for node in nodes)


def _between(snapshot: HostSnapshot, one: int | None, other: int) -> int:
    if one is None:
        return _NOWHERE
    known = snapshot.distances.get(one, {}).get(other)
    return known or (_HERE if one == other else _ELSEWHERE)
