"""What the simulated host needs of its devices: as written in ``critical.json`` in its directory.

The file maps PCI names to lists of uses: ``{"0000:04:01.0": [{"kind": "default route", "words":
"carries the default route (eth0)"}]}``. Chipset functions and the boot display follow from the
fake sysfs, as on a real host. A use ends with the driver: a card without one carries no route.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import get_args

from isod.kernel.linux.critical_chipset import read_chipset
from isod.kernel.linux.critical_console import read_boot_display
from isod.kernel.linux.critical_finding import Findings, bound_to_host
from isod.model.critical import CriticalFacts, Kind
from isod.model.host import Device

from .tree import replace

FILE = "critical.json"
Needs = dict[str, list[dict[str, str]]]


def read_critical(directory: Path, devices: Collection[Device]) -> CriticalFacts:
    """What the host needs now. A file that makes no sense makes every device critical."""
    findings = Findings(directory, devices)
    try:
        read_chipset(findings)
        read_boot_display(findings)
        for name, uses in _needs(directory).items():
            if bound_to_host(directory, name) is not None:
                for use in uses:
                    findings.add(name, _kind(use["kind"]), use["words"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return CriticalFacts(unread=f"{FILE}: {error}")
    return CriticalFacts(findings.done())


def need(directory: Path, device: str, kind: Kind, words: str) -> None:
    """The host begins to use a device."""
    needs = _needs(directory)
    needs.setdefault(device, []).append({"kind": kind, "words": words})
    replace(directory / FILE, json.dumps(needs, indent=1) + "\n")


def need_no_more(directory: Path, device: str) -> None:
    """The host stops all its uses of a device."""
    needs = _needs(directory)
    needs.pop(device, None)
    replace(directory / FILE, json.dumps(needs, indent=1) + "\n")


def _needs(directory: Path) -> Needs:
    try:
        needs: Needs = json.loads((directory / FILE).read_text())
    except FileNotFoundError:
        return {}
    return needs


def _kind(text: str) -> Kind:
    kinds: tuple[Kind, ...] = get_args(Kind)
    for kind in kinds:
        if kind == text:
            return kind
    raise ValueError(f"no kind of use: {text!r}")
