"""All that the host needs now: every reader once, and none of them able to stop the others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from isod.model.critical import CriticalFacts
from isod.model.host import Device

from .critical_chipset import read_chipset
from .critical_console import COMMUNICATION, DISPLAY, read_boot_display, read_console
from .critical_disks import STORAGE, read_disks
from .critical_finding import Findings
from .critical_mounts import Mount, mounts
from .critical_network import NETWORK, read_network
from .critical_routes import KernelRoutes, Routes
from .critical_servers import read_servers


def read_critical(
    root: Path, devices: Collection[Device], routes: Routes | None = None
) -> CriticalFacts:
    """Read what the host needs of these devices now (blocking, some milliseconds).

    ``devices`` are those of a snapshot; only what cannot change while a device is there is taken
    from it (its class), the rest is looked up anew. What cannot be looked up makes every device
    that it may concern critical.
    """
    findings = Findings(root, devices)
    asked = KernelRoutes() if routes is None else routes
    mounted: list[Mount] = []
    readers: tuple[tuple[Callable[[], None], str, tuple[str, ...]], ...] = (
        (partial(read_chipset, findings), "may be a chipset function", ("05", "06", "08")),
        (partial(read_boot_display, findings), "may be the boot display", (DISPLAY,)),
        (partial(read_console, findings), "may be the console", (COMMUNICATION, DISPLAY)),
        (partial(read_network, findings, asked), "may be in use by the host", (NETWORK,)),
        (lambda: mounted.extend(mounts(root)), "may be mounted", (*STORAGE, NETWORK)),
        (lambda: read_disks(findings, mounted), "may be in use by the host", STORAGE),
        (lambda: read_servers(findings, asked, mounted), "may carry a disk", (NETWORK,)),
    )
    for read, words, classes in readers:
        try:
            read()
        except (OSError, ValueError) as error:
            findings.suspect(f"{words} ({error})", *classes)
    return CriticalFacts(findings.done())
