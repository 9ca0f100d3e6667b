"""Hot resets in words: what one hits, and whether it is permitted."""

from __future__ import annotations

from collections.abc import Sequence

from isod.model.address import Address
from isod.model.reply import DeviceInfo
from isod.model.reset import LeaseReset, ResetAnswer, ResetSetInfo, SetAnswer

from .terminal import escape
from .words import comma_list, short_list

_NAMED = 6


def reset_words(device: DeviceInfo, info: ResetSetInfo | None) -> str:
    """The line of ``show``. ``info`` is None where the daemon does not tell."""
    methods = ", ".join(escape(method) for method in device.reset_methods)
    if device.reset == "none":
        return "none"
    members = () if info is None else tuple(member.address for member in info.members)
    total = 0 if info is None else info.total
    if device.reset == "function":
        words = f"function reset ({methods}); hits nothing else" if methods else "function reset"
        others = [address for address in members if address != device.address]
        if others:
            words += f"; a hot reset hits {_named(others, total - 1)}, too"
        return words
    if info is None:
        return "hot reset only: hits everything on its bus or slot"
    hits = "nothing else" if total == 1 else _named(members, total)
    return f"hot reset only, hits {hits}{_in_the_way(info.reset)}"


def lease_reset_words(reset: LeaseReset) -> str:
    """The line of ``explain``, behind "Hot reset:"."""
    if reset.hot == "never":
        return f"no, {escape(reset.why or 'there is nothing to reset')}."
    alone = [one for one in reset.sets if len(one.hits) == 1]
    if len(alone) == len(reset.sets):
        which = short_list(one.hits[0] for one in alone)
        return f"yes, {which} {'is' if len(alone) == 1 else 'are each'} alone in its set."
    hits = "; ".join(_hits(one) for one in reset.sets)
    return f"hits {hits}; permitted when {escape(reset.when or 'asked for')}."


def _hits(one: SetAnswer) -> str:
    return _named(one.hits, len(one.hits))


def _in_the_way(reset: ResetAnswer) -> str:
    if reset.hot == "never":
        return f"; impossible now: {escape(reset.why or 'the kernel refuses')}"
    if reset.blocked_by:
        return f"; needs {comma_list(reset.blocked_by)} as well"
    return ""


def _named(addresses: Sequence[Address], total: int) -> str:
    if total <= _NAMED:
        return short_list(addresses)
    return f"{comma_list(addresses[:_NAMED])} and {total - _NAMED} more"
