"""Small surveyed hosts: what config space says of each device, written in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isod.core.isolation import Isolation
from isod.core.isolation_analysis import IsolationAnalysis
from isod.core.pci_links import Hierarchies
from isod.model.host import Device, HostSnapshot
from isod.model.isolation import Companion, IsolationInfo
from isod.model.policy import Policy
from isod.model.survey import Acs, Express, PortType, SurveyedFunction

from .build import at, device, host

ALL_ON = Acs(capabilities=0x1D, control=0x1D)
Surveyed = tuple[Device, SurveyedFunction | None]


def of(
    thing: Device,
    port: PortType | None,
    *,
    acs: Acs | None = None,
    several: bool = False,
    **facts: Any,
) -> Surveyed:
    """A device with its config space; ``port`` None: conventional PCI."""
    given: dict[str, Any] = {
        "header_type": 1 if thing.is_bridge else 0,
        "multifunction": several,
        "capabilities": True,
        "extended": True,
        "express": None if port is None else Express(port=port),
        "acs": acs,
    }
    function = SurveyedFunction(
        address=thing.address, generation=thing.generation, **(given | facts)
    )
    return thing, function


def plain(short: str, group: int | None, *above: str, **facts: Any) -> Device:
    """An endpoint whose model the kernel has no quirk for."""
    return device(short, group, bridges=tuple(map(at, above)), **({"product": "10d3"} | facts))


def port(short: str, group: int | None, *above: str, **facts: Any) -> Device:
    given: dict[str, Any] = {
        "device_class": "060400",
        "header_type": 1,
        "vendor": "1b36",
        "product": "000c",
        "bridges": tuple(map(at, above)),
    }
    return device(short, group, "pcieport", **(given | facts))


def root_port(short: str, group: int | None, acs: Acs | None = ALL_ON, **facts: Any) -> Surveyed:
    return of(port(short, group), PortType.root_port, acs=acs, **facts)


def dark(one: Surveyed) -> Surveyed:
    """The same device, of which nothing was read."""
    return one[0], None


def machine(*things: Surveyed) -> HostSnapshot:
    snapshot = host(*(thing for thing, _ in things))
    return replace(snapshot, survey={f.address: f for _, f in things if f is not None})


def analysed(snapshot: HostSnapshot, short: str, policy: Policy | None = None) -> IsolationInfo:
    isolation = Isolation(snapshot, policy)
    hierarchies = Hierarchies(snapshot)
    return IsolationAnalysis(isolation, hierarchies, snapshot.devices[at(short)]).info()


def companion(info: IsolationInfo, short: str) -> Companion:
    (found,) = [one for one in info.companions if one.address == at(short)]
    return found


BEHIND_A_BRIDGE = (
    root_port("00:03.0", 3),
    of(port("03:00.0", 14, "00:03.0", product="000e"), PortType.pci_bridge),
    of(plain("04:01.0", 14, "03:00.0", "00:03.0", product="100e"), None),
    of(plain("04:02.0", 14, "03:00.0", "00:03.0", product="100e"), None),
)
TWO_FUNCTIONS = (
    root_port("00:01.0", 1),
    of(plain("01:00.0", 12, "00:01.0"), PortType.endpoint, several=True),
    of(plain("01:00.1", 12, "00:01.0"), PortType.endpoint, several=True),
)
SWITCH = (
    root_port("00:04.0", 4),
    of(port("05:00.0", 5, "00:04.0"), PortType.upstream_port),
    of(port("06:00.0", 6, "05:00.0", "00:04.0"), PortType.downstream_port, acs=ALL_ON),
    of(port("06:01.0", 7, "05:00.0", "00:04.0"), PortType.downstream_port, acs=ALL_ON),
    of(plain("07:00.0", 8, "06:00.0", "05:00.0", "00:04.0"), PortType.endpoint),
    of(plain("08:00.0", 9, "06:01.0", "05:00.0", "00:04.0"), PortType.endpoint),
)
