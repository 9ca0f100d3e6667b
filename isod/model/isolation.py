"""What ``host.isolation`` answers: why a device's group is as it is, and what it is worth."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from .request import AddressText

Known = Literal["yes", "no", "unknown"]
Control = Literal[
    "source validation",
    "request redirect",
    "completion redirect",
    "upstream forwarding",
    "translation blocking",
    "egress control",
    "direct translated",
]
Worth = Literal["device", "group", "doubtful", "unknown", "none"]
Together = Literal["granule", "functions", "port", "policy", "unknown", "unexplained"]

SHOWN_MEMBERS = 200


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Hop(_Part):
    """One function on the way from a device to the IOMMU, the device itself first.

    ``kind`` is its kind of port, "PCI" for what is not PCI Express, None if unknown. ``redirects``:
    it sends requests on towards the IOMMU, never to a neighbour; ``why`` goes on from its name.
    ``on`` are the ACS controls that are on, ``missing`` those that would have to be and are off.
    """

    address: AddressText
    kind: str | None
    redirects: Known
    why: str
    on: tuple[Control, ...] = ()
    missing: tuple[Control, ...] = ()


class Granule(_Part):
    """The functions that the IOMMU cannot tell apart, bridges left out: their requests bear the
    requester id of ``bridge``, or of a controller with a PCI domain of its own. ``known`` is false
    where config space would be needed to tell; then ``members`` is the device alone."""

    known: bool
    members: tuple[AddressText, ...]
    bridge: AddressText | None = None


class Companion(_Part):
    """Another function of the isolation group, and what keeps the two together.

    ``together``: "granule" (requests of both bear the requester id of ``by``), "functions" (of one
    device, without ACS), "port" (``by``, on the way up, does not redirect), "policy" (a quirk of
    the policy), "unknown", "unexplained" (the kernel knows what config space does not say).
    ``reached``: whether DMA of the device gets to it past the IOMMU; ``through`` is where. Of a
    bridge, which answers no DMA, ``reached`` is None.
    """

    address: AddressText
    bridge: bool
    together: Together
    by: AddressText | None = None
    reached: Known | None = None
    through: AddressText | None = None
    why: str | None = None


class IsolationInfo(_Part):
    """``isolation`` says what is isolated from everything else: "device" (the device itself),
    "group" (the group as a whole, not its members from each other), "doubtful" (nothing in config
    space keeps the group from ``apart``, which are in other groups), "unknown", "none" (no IOMMU).

    ``unread`` are functions on whose config space the answer depends and that was not read; at
    most 200 are listed of them, of ``apart`` and of ``companions``, whom ``total`` counts.
    """

    address: AddressText
    group: int | None
    isolation: Worth
    granule: Granule
    path: tuple[Hop, ...]
    companions: tuple[Companion, ...]
    total: int
    apart: tuple[AddressText, ...] = ()
    unread: tuple[AddressText, ...] = ()
    hint: str | None = None
    snapshot: int
