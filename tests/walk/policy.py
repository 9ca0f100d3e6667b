"""Policy files for walks."""

from __future__ import annotations

from collections.abc import Iterable

DRIVERS = ("e1000e", "e1000", "nvme", "igb", "nouveau", "snd_hda_intel", "shpchp")
MEMLOCK = 96 << 20

NOTHING = "version = 1\n"


def rule(
    name: str = "walk",
    *,
    uids: Iterable[int] | None = None,
    what: str = '"anything"',
    take_from: Iterable[str] = DRIVERS,
    hand_over: Iterable[str] = ("iommufd", "group", "nodes"),
    scrub: str = "try",
    terms: str = "",
) -> str:
    """An allowing rule as TOML; ``uids`` of None: anyone. ``terms`` are further lines of it."""
    who = '"anyone"' if uids is None else f"[{{ uid = {list(uids)} }}]"
    return f"""
[[rule]]
name = "{name}"
effect = "allow"
who = {who}
what = {what}
[rule.terms]
memlock = {MEMLOCK}
take_from = {list(take_from)}
scrub = "{scrub}"
hand_over = {list(hand_over)}
{terms}
"""


EVERYTHING = NOTHING + rule()
