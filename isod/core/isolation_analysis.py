"""Why a device's group is as it is, what its isolation is worth, and who is reached past the IOMMU.

The kernel's groups are facts; config space, where it was read, explains them. What was not read is
*unknown* and makes nothing isolated. Where the kernel keeps apart what config space does not, it
has a quirk that isod does not know, or somebody told it to (an ACS override): then isolation is
doubtful. Where it keeps together what config space would not, that is said as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from isod.model.address import Address
from isod.model.host import Device
from isod.model.isolation import (
    SHOWN_MEMBERS,
    Companion,
    Granule,
    Hop,
    IsolationInfo,
    Known,
    Together,
    Worth,
)

from .acs import Passage, controls
from .isolation import Isolation
from .pci_links import Hierarchies, Link, PciTree, links

_HINT = "isod survey, run as root, reads it (isod-survey.service does at boot)"


class IsolationAnalysis:
    """The analysis of one device. ``hierarchies`` are those of the isolation's snapshot."""

    def __init__(self, isolation: Isolation, hierarchies: Hierarchies, device: Device) -> None:
        snapshot = isolation.snapshot
        self._snapshot, self._isolation, self._device = snapshot, isolation, device
        self._tree = PciTree(snapshot, hierarchies.around(device))
        self._links: dict[Address, list[Link]] = {}
        for link in links(self._tree):
            self._links.setdefault(link.one, []).append(link)
            self._links.setdefault(link.other, []).append(link)
        self._way = self._tree.way(device) if device.address.bus == "pci" else ()

    def info(self) -> IsolationInfo:
        """All of it, for an answer."""
        companions, apart, unread = self._companions(), self._apart(), self._unread()
        granule = self._granule()
        isolation = self._worth(granule, companions, apart)
        return IsolationInfo(
            address=self._device.address,
            group=self._device.group,
            isolation=isolation,
            granule=granule.model_copy(update={"members": granule.members[:SHOWN_MEMBERS]}),
            path=tuple(_hop(passage) for passage in self._way),
            companions=companions[:SHOWN_MEMBERS],
            total=len(companions),
            apart=apart[:SHOWN_MEMBERS],
            unread=unread[:SHOWN_MEMBERS],
            hint=_HINT if unread else None,
            snapshot=self._snapshot.sequence,
        )

    # --- what cannot be told apart --------------------------------------------------------------

    def _granule(self) -> Granule:
        device = self._device
        if device.address.bus != "pci":
            return Granule(known=False, members=(device.address,))
        found, doubtful = {device.address}, False
        reach = deque([device.address])
        lenders: list[Address] = []
        while reach:
            for link in self._links.get(reach.popleft(), ()):
                if link.kind != "granule":
                    continue
                doubtful |= not link.certain
                if not link.certain:
                    continue
                lenders.append(link.by)
                for address in (link.one, link.other):
                    if address not in found:
                        found.add(address)
                        reach.append(address)
        if doubtful and not self._alone:
            return Granule(known=False, members=(device.address,))
        members = [a for a in sorted(found) if a == device.address or not self._is_bridge(a)]
        bridge = next((a for a in reversed(device.bridges) if a in lenders), None)
        return Granule(known=True, members=tuple(members), bridge=bridge)

    @property
    def _alone(self) -> bool:
        """The kernel gives devices that it cannot tell apart one group: who is alone in one is
        alone in a granule, whatever config space says."""
        group = self._snapshot.group_of(self._device.address)
        return group is not None and group.members == (self._device.address,)

    def _is_bridge(self, address: Address) -> bool:
        device = self._snapshot.devices.get(address)
        return device is not None and device.is_bridge

    # --- who belongs together -------------------------------------------------------------------

    def _companions(self) -> tuple[Companion, ...]:
        if self._device.group is None:
            return ()
        reasons = _reasons(self._links, self._device.address)
        found = []
        for number in self._isolation.numbers(self._device.group):
            for member in self._snapshot.members(number):
                if member.address != self._device.address:
                    found.append(self._companion(member, reasons))
        return tuple(sorted(found, key=lambda one: one.address))

    def _companion(self, member: Device, reasons: Mapping[Address, _Reason]) -> Companion:
        if member.group != self._device.group:
            together: Together = "policy"
            by: Address | None = None
        else:
            together, by = reasons.get(member.address, ("unexplained", None))
            if together == "unexplained" and self._blind(member):
                together = "unknown"
        if member.is_bridge:
            return Companion(address=member.address, bridge=True, together=together, by=by)
        reached, through, why = self._reach(member, together)
        return Companion(
            address=member.address,
            bridge=False,
            together=together,
            by=by,
            reached=reached,
            through=through,
            why=why,
        )

    def _blind(self, member: Device) -> bool:
        """Whether too little is known of either of the two to call anything unexplained."""
        ways = (*self._way, *self._tree.way(member)) if member.address.bus == "pci" else ()
        return not ways or any(not passage.read for passage in ways)

    def _reach(
        self, member: Device, together: Together
    ) -> tuple[Known, Address | None, str | None]:
        """Whether DMA of the device can get to a member without passing the IOMMU: it can unless
        every function on the way up redirects. Named is the nearest bridge above both that does
        not, else the first function that does not."""
        if together == "policy":
            return "yes", None, "the policy says that they are not isolated"
        if not self._way:
            return "unknown", None, None
        open_at = [passage for passage in self._way if passage.redirects == "no"]
        if open_at:
            functions = member.address.pci_slot == self._device.address.pci_slot
            common = [p for p in open_at if p.address in member.bridges]
            through = open_at[0] if functions or not common else common[0]
            return "yes", through.address, through.why
        dark = next((passage for passage in self._way if passage.redirects == "unknown"), None)
        if dark is not None:
            return "unknown", dark.address, dark.why
        if together in ("unexplained", "unknown"):
            return "unknown", None, "config space does not show why the kernel joins them"
        return "no", None, None

    def _apart(self) -> tuple[Address, ...]:
        """What config space ties to the device, and the kernel has in other groups."""
        group = self._device.group
        if group is None:
            return ()
        own = set(self._isolation.numbers(group))
        found = []
        for address, (together, _) in _reasons(self._links, self._device.address).items():
            device = self._snapshot.devices.get(address)
            if together == "unknown" or device is None or device.group is None:
                continue
            if device.group not in own:
                found.append(address)
        return tuple(sorted(found))

    # --- the verdict ----------------------------------------------------------------------------

    def _unread(self) -> tuple[Address, ...]:
        """Functions of which more would have to be known: on the way, and of the group."""
        if self._device.group is None:
            return ()
        dark = {p.address for p in self._way if p.redirects == "unknown"}
        for member in self._snapshot.members(self._device.group):
            for passage in self._tree.way(member) if member.address.bus == "pci" else ():
                if not passage.read:
                    dark.add(passage.address)
        return tuple(sorted(dark))

    def _worth(
        self, granule: Granule, companions: Sequence[Companion], apart: Sequence[Address]
    ) -> Worth:
        if self._device.group is None:
            return "none"
        if apart:
            return "doubtful"
        known = granule.known and all(passage.redirects != "unknown" for passage in self._way)
        if not known or not self._way or any(one.together == "unknown" for one in companions):
            return "unknown"
        if any(one.together == "unexplained" for one in companions):
            return "group"
        redirects = all(passage.redirects == "yes" for passage in self._way)
        return "device" if redirects and len(granule.members) == 1 else "group"


_Reason = tuple[Together, Address | None]


def _reasons(links_of: Mapping[Address, Sequence[Link]], start: Address) -> dict[Address, _Reason]:
    """Whatever is tied to a function, with the reason: by certain links if there are any, else
    "unknown". A reason met on the way counts for all that is behind it, but sharing a requester
    id counts only as long as nothing else is needed."""
    found: dict[Address, _Reason] = {}
    for certain in (True, False):
        first: dict[Address, _Reason] = {start: ("granule", None)}
        reach = deque([start])
        while reach:
            here = reach.popleft()
            for link in links_of.get(here, ()):
                there = link.other if link.one == here else link.one
                if there in first or (certain and not link.certain):
                    continue
                together, by = first[here]
                if together == "granule":
                    together, by = link.kind, link.by
                first[there] = (together, by) if certain else ("unknown", None)
                reach.append(there)
        for address, reason in first.items():
            if address != start:
                found.setdefault(address, reason)
    return found


def _hop(passage: Passage) -> Hop:
    kind = "PCI" if passage.port is None else str(passage.port)
    return Hop(
        address=passage.address,
        kind=kind if passage.read else None,
        redirects=passage.redirects,
        why=passage.why,
        on=controls(passage.acs.control) if passage.acs is not None else (),
        missing=passage.missing,
    )
