"""Isolation in words: why a group belongs together, what that is worth, whom DMA reaches."""

from __future__ import annotations

from isod.model.isolation import Companion, Hop, IsolationInfo

from .terminal import escape
from .words import short_list

_NO_ACS = ("has no ACS", "is conventional PCI, which has no ACS")


_TIES = {
    "granule": "same granule: requester id of the bridge",
    "functions": "same device, no ACS between its functions",
    "policy": "the policy joins their groups",
    "unexplained": "config space does not say why",
    "unknown": "why is unknown",
    "port": "no ACS above",
}


def companion_words(companion: Companion, info: IsolationInfo) -> str:
    """What keeps another function in the device's group, for a pair of parentheses."""
    if companion.together == "granule" and companion.by == info.address:
        return "bears the requester id of this bridge"
    if companion.together != "port" or companion.by is None:
        return _TIES[companion.together]
    hop = next((hop for hop in info.path if hop.address == companion.by), None)
    return _obstacle(companion.by.short, None if hop is None else hop.why)


def isolation_words(info: IsolationInfo) -> str:
    """What is isolated from what, in a sentence."""
    match info.isolation:
        case "none":
            return "none: without an IOMMU it can reach all memory (UNSAFE)"
        case "unknown":
            return _unknown(info)
        case "doubtful":
            return (
                f"doubtful: nothing in config space keeps it from {short_list(info.apart)}, "
                f"which {'is in another group' if len(info.apart) == 1 else 'are in other groups'}"
            )
        case "device":
            ports = [hop.address for hop in info.path[1:]]
            by = f" ({short_list(ports)} {'redirect' if len(ports) > 1 else 'redirects'})"
            return f"of its own: the IOMMU sees each of its requests{by if ports else ''}"
        case "group":
            return _group(info)


def peer_words(info: IsolationInfo) -> str | None:
    """Whether the device's DMA reaches what shares its group; None where nothing does."""
    others = [one for one in info.companions if one.reached is not None]
    if not others:
        return None
    reached = [one for one in others if one.reached == "yes"]
    if reached:
        first = reached[0]
        why = first.why if first.through is None else _obstacle(first.through.short, first.why)
        some = "a parked sibling" if len(reached) == len(others) else _names(reached)
        return f"{some} stays reachable by DMA: {escape(why or 'nothing redirects it')}"
    dark = next((one for one in others if one.reached == "unknown"), None)
    if dark is None:
        return "a parked sibling is not reachable: every request goes to the IOMMU"
    where = "" if dark.through is None else f"{escape(dark.through.short)} "
    why = f": {where}{escape(dark.why)}" if dark.why else ""
    return f"unknown whether a parked sibling stays reachable by DMA{why}"


def _names(companions: list[Companion]) -> str:
    return short_list([one.address for one in companions])


def _unknown(info: IsolationInfo) -> str:
    if info.unread:
        shown = info.unread[:3]
        more = f" and {len(info.unread) - len(shown)} more" if len(info.unread) > 3 else ""
        names = ", ".join(escape(address.short) for address in shown) if more else short_list(shown)
        hint = f"; {escape(info.hint)}" if info.hint else ""
        return f"unknown: config space of {names}{more} was not read{hint}"
    hop = _first(info, "unknown")
    return "unknown" if hop is None else f"unknown: {escape(hop.address.short)} {escape(hop.why)}"


def _group(info: IsolationInfo) -> str:
    if len(info.granule.members) > 1:
        names = short_list(info.granule.members)
        return f"the IOMMU cannot tell {names} apart; they always go together"
    hop = _first(info, "no")
    reason = "" if hop is None else f": {_obstacle(hop.address.short, hop.why)}"
    if all(one.bridge for one in info.companions):
        return f"of its group, in which it is alone{reason}"
    return f"of its group, not of the members from each other{reason}"


def _first(info: IsolationInfo, redirects: str) -> Hop | None:
    """The first function on the way that is so, bridges before the device itself."""
    hops = (*info.path[1:], *info.path[:1])
    return next((hop for hop in hops if hop.redirects == redirects), None)


def _obstacle(name: str, why: str | None) -> str:
    if why is None or why in _NO_ACS:
        return f"no ACS on {escape(name)}"
    return f"{escape(name)} {escape(why)}"
