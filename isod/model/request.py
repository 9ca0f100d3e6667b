"""What clients may ask: the parameters of every method, checked strictly.

Unknown members are refused, so that a misspelt wish is never ignored in silence.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

from .address import Address
from .step import HandOver

# What subscribers choose events by: the word before the dot of their kinds.
Family = Literal["lease", "device", "policy"]
FAMILIES: tuple[Family, ...] = ("lease", "device", "policy")

PROTOCOL = 1
PACKET_BYTES = 65536
LEASE_FDS = 250


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError("an address is a string such as pci:0000:01:00.0")
    return Address.parse(value)


AddressText = Annotated[
    Address,
    PlainValidator(_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["pci:0000:01:00.0"], "maxLength": 80}),
]
Seconds = Annotated[float, Field(ge=0, le=3600, strict=False)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class Params(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class NoParams(Params):
    """The method takes nothing."""


class Hello(Params):
    """Say who you are and which protocol you speak."""

    client: Name
    protocol: int = Field(ge=1)


class Page(Params):
    """One page of a list. ``after`` is the ``next`` of the page before."""

    limit: int = Field(default=100, ge=1, le=500)
    after: Annotated[str, Field(max_length=64)] | None = None


class OneDevice(Params):
    """A device by address."""

    address: AddressText


class WantedDevice(Params):
    """A device by address; with ``generation`` only if it is still the same device."""

    address: AddressText
    generation: int | None = Field(default=None, ge=0)


WantedDevices = Annotated[
    tuple[WantedDevice, ...], Field(min_length=1, max_length=LEASE_FDS, strict=False)
]


class Acquire(Params):
    """Ask for devices: whole isolation groups or nothing.

    ``hand_over`` defaults to the first that the rule allows. ``iommufd`` "none" adds devices to
    an iommufd that the client has. ``container`` "raw" leaves container and IOMMU set-up to the
    client. ``reset`` "whole-set" wants everything that a hot reset would hit, as well. ``wait`` is
    how many seconds to wait, in fair order, for groups that others have. ``memlock`` (bytes) wishes
    for less than the rule's. A ``key`` makes the call idempotent for one uid.
    """

    devices: WantedDevices
    hand_over: HandOver | None = None
    iommufd: Literal["new", "none"] = "new"
    container: Literal["ready", "raw"] = "ready"
    reset: Literal["if-owned", "whole-set"] | None = None
    anchor: Literal["hold"] = "hold"
    wait: Seconds = 0.0
    memlock: int | None = Field(default=None, ge=0)
    key: Name | None = None


class LeaseName(Params):
    """A lease by its id."""

    lease: Name


class OwnLease(Params):
    """A lease by its id, with the secret that acquire returned."""

    lease: Name
    secret: Annotated[str, Field(min_length=1, max_length=128)]


class Subscribe(Params):
    """Ask for events of the families ``kinds``, from now on; with ``since`` also for those after
    the event of that ``seq``."""

    kinds: Annotated[tuple[Family, ...], Field(min_length=1, max_length=8, strict=False)] = FAMILIES
    since: int | None = Field(default=None, ge=0)


class SubscriptionName(Params):
    """A subscription of this connection, by its name."""

    subscription: Name


class SetQuarantine(Params):
    """A device, and why it is not to be trusted."""

    address: AddressText
    why: Annotated[str, Field(min_length=1, max_length=256)]
