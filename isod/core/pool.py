"""Which members of a pool a request gets: rule first, then availability, then nearness.

1. *Rule*: only members that the policy allows this peer. A deny drops the member, not the request.
   Where none is left, the pool might as well not exist, and the refusal says the same.
2. *Availability*: members that a grant could take now, together with all that the request has so
   far: in free groups, known and settled, nothing that the host needs, within terms and quotas.
3. *Nearness*: to ``numa`` or, where the request names no node, to its other devices, those chosen
   before included. Of equally near ones those come first whose isolation groups bring the fewest
   others along, then by address; members of one group come one after the other. A member that is
   not chosen counts as one that is brought along, as far as ``count`` leaves no room for it.

A pure function of its arguments, so that explain and acquire choose the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from isod.model.address import Address
from isod.model.host import Device, Group, HostSnapshot
from isod.model.peer import Peer
from isod.model.policy import Policy
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.request import Acquire, WantedPool

from .match import first_match, in_pool
from .nearness import distance

IsFree = Callable[[int], bool]
Unit = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A device that a request gets: asked for by its address, or out of ``pool``."""

    device: Device
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class _Picks:
    """What a pool gives. ``members_for_you`` counts what the policy allows; ``obstacle`` is what
    stands against the first member that no waiting makes available."""

    wish: WantedPool
    members: tuple[Device, ...]
    members_for_you: int
    obstacle: Refusal | None

    @property
    def short(self) -> bool:
        return len(self.members) < self.wish.count


@dataclass(frozen=True, slots=True)
class Choosing:
    """What a choice is made from.

    ``groups_of`` gives the groups of some devices' isolation groups. ``weigh`` gives the groups
    that a grant of these devices would take, or raises RefusedError for whatever else than somebody
    having them is in the way. ``is_free`` tells whether a group could be taken now.
    """

    policy: Policy
    snapshot: HostSnapshot
    peer: Peer
    groups_of: Callable[[Sequence[Device]], Sequence[Group]]
    weigh: Callable[[Sequence[Device]], Sequence[Group]]
    is_free: IsFree

    def choose(self, request: Acquire, named: Sequence[Device]) -> tuple[Chosen, ...]:
        """All devices of a request, in its order; ``named`` are those with an address.

        Raises RefusedError: ``denied`` if a pool has nothing for this peer, ``not_found`` if it has
        too few, ``group_busy`` if it would have enough were it not for others, else what is in the
        way of the first member that cannot be had.
        """
        found = self._walk(request, named)
        for picks in found:
            if picks.short:
                raise self._refusal(request, named, picks)
        chosen: list[Chosen] = []
        names, pools = iter(named), iter(found)
        for item in request.devices:
            if isinstance(item, WantedPool):
                chosen += (Chosen(device, item.pool) for device in next(pools).members)
            else:
                chosen.append(Chosen(next(names)))
        return tuple(chosen)

    def holds(self, request: Acquire, named: Sequence[Device]) -> frozenset[int]:
        """The groups that a request which waits keeps from those behind it: what it would take now,
        even if that is too little. What becomes free is offered to those who wait in their order,
        so what it lacks needs no keeping."""
        found = self._walk(request, named)
        return self._numbers([*named, *(device for picks in found for device in picks.members)])

    def _walk(
        self, request: Acquire, named: Sequence[Device], is_free: IsFree | None = None
    ) -> list[_Picks]:
        """What each pool of the request gives, less than its count if it has too few."""
        taken = list(named)
        found: list[_Picks] = []
        for wish in request.pools:
            picks = self._pick(wish, taken, is_free or self.is_free)
            taken += picks.members
            found.append(picks)
        return found

    def _pick(self, wish: WantedPool, taken: Sequence[Device], is_free: IsFree) -> _Picks:
        """Up to ``count`` members, one after the other."""
        members = self._members(wish, taken)
        so_far, picked = list(taken), list[Device]()
        has = self._numbers(taken)
        obstacle: Refusal | None = None
        waiting = deque(self._in_order(wish, wish.count, so_far, members))
        while waiting and len(picked) < wish.count:
            member = waiting.popleft()
            if member.group is None or not is_free(member.group):
                continue
            try:
                groups = _numbers(self.weigh([*so_far, member]))
            except RefusedError as error:
                obstacle = obstacle or error.refusal
                continue
            if not all(map(is_free, groups - has)):
                continue
            has = groups
            if not so_far and wish.numa is None:
                waiting = deque(self._in_order(wish, wish.count - 1, [member], waiting))
            so_far.append(member)
            picked.append(member)
        return _Picks(wish, tuple(picked), len(members), obstacle)

    def _numbers(self, devices: Sequence[Device]) -> frozenset[int]:
        """The groups that these take, what a reset set pulls in included."""
        try:
            return _numbers(self.weigh(devices)) if devices else frozenset()
        except RefusedError:
            return _numbers(self.groups_of(devices))

    def _members(self, wish: WantedPool, taken: Sequence[Device]) -> list[Device]:
        """The members that the policy allows this peer and that the request does not have yet."""
        has = {device.address for device in taken}
        return [
            device
            for device in self.snapshot.devices.values()
            if device.address not in has and not device.is_bridge and device.group is not None
            if in_pool(self.policy, wish.pool, device) and self._allows(device)
        ]

    def _allows(self, device: Device) -> bool:
        rule = first_match(self.policy, self.peer, device)
        return rule is not None and rule.allow

    def _in_order(
        self, wish: WantedPool, left: int, taken: Sequence[Device], members: Iterable[Device]
    ) -> list[Device]:
        """Nearest first, then what brings the fewest along, group by group, by address. ``left``
        are still to be chosen."""
        has = {device.address for device in taken}
        nodes = [device.numa_node for device in taken if device.numa_node is not None]
        if wish.numa is not None:
            nodes = [wish.numa]
        known = sorted(members, key=lambda member: member.address)
        units = {member.address: self._unit(member) for member in known}
        first: dict[Unit, Address] = {}
        for member in known:
            first.setdefault(units[member.address], member.address)
        fellows = Counter(units.values())
        endpoints = {unit: self._endpoints(unit, has) for unit in first}

        def place(member: Device) -> tuple[int, int, Address, Address]:
            unit = units[member.address]
            along = endpoints[unit] - min(fellows[unit], left)
            far = distance(self.snapshot, member, nodes)
            return far, along, first[unit], member.address

        return sorted(known, key=place)

    def _unit(self, member: Device) -> Unit:
        return tuple(group.number for group in self.groups_of([member]))

    def _endpoints(self, unit: Unit, has: Collection[Address]) -> int:
        members = (member for number in unit for member in self.snapshot.members(number))
        return sum(not member.is_bridge and member.address not in has for member in members)

    def _refusal(self, request: Acquire, named: Sequence[Device], found: _Picks) -> RefusedError:
        """Why pools give too little. Others are the reason only if all of the request could be had
        without them."""
        for possible in self._walk(request, named, lambda group: True):
            if possible.short:
                return self._never(possible)
        name, count = found.wish.pool, found.wish.count
        return RefusedError(
            Reason.group_busy,
            f"pool {name} has {len(found.members)} free, and {count} are asked for",
            pool=name,
        )

    def _never(self, possible: _Picks) -> RefusedError:
        name, count, obstacle = possible.wish.pool, possible.wish.count, possible.obstacle
        if not self._members(possible.wish, ()):
            return RefusedError(
                Reason.denied, f"there is no pool {name} with a device for you", pool=name
            )
        if obstacle is None or possible.members_for_you < count:
            return RefusedError(
                Reason.not_found,
                f"pool {name} has {possible.members_for_you} for you, and {count} are asked for",
                hint="ask for fewer",
                pool=name,
            )
        return RefusedError(
            obstacle.reason,
            f"pool {name} has {len(possible.members)} of {count} for you: {obstacle.message}",
            hint=obstacle.hint,
            fixed_by=obstacle.fixed_by,
            retry=obstacle.retry,
            **{**obstacle.details, "pool": name},
        )


def _numbers(groups: Iterable[Group]) -> frozenset[int]:
    return frozenset(group.number for group in groups)
