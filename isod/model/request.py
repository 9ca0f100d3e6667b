"""What clients may ask: the parameters of every method, checked strictly.

Unknown members are refused, so that a misspelt wish is never ignored in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from .address import Address
from .step import HandOver
from .terms import Anchor

# What subscribers choose events by: the word before the dot of their kinds.
Family = Literal["lease", "device", "policy"]
FAMILIES: tuple[Family, ...] = ("lease", "device", "policy")

PROTOCOL = 1
PACKET_BYTES = 65536
LEASE_FDS = 250
LEASE_HOLDS = 4  # that may be open at once: each lease.open gives one more


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


class WantedPool(Params):
    """``count`` devices out of a pool of the policy, near to the NUMA node ``numa``, or else to
    the other devices that are asked for."""

    pool: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    count: int = Field(default=1, ge=1, le=LEASE_FDS)
    numa: int | None = Field(default=None, ge=0, le=1 << 20)


def parse_wanted(text: str) -> WantedDevice | WantedPool:
    """Read an address, or ``pool:NAME``, or ``pool:NAME:COUNT``. Raises ValueError."""
    if not text.startswith("pool:"):
        return WantedDevice(address=Address.parse(text))
    _, name, *rest = text.split(":")
    if len(rest) > 1 or not all(word.isdecimal() and len(word) < 5 for word in rest):
        raise ValueError(f"not a pool: {text[:80]!r}; write pool:NAME, or pool:NAME:COUNT")
    try:
        return WantedPool(pool=name, count=int(rest[0]) if rest else 1)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"not a pool: {text[:80]!r}: {first['msg'].lower()}") from None


def _kind(item: object) -> str:
    """Which of the two an item is meant to be, so that a mistake in it is told as that."""
    if isinstance(item, Mapping):
        return "pool" if "pool" in item and "address" not in item else "address"
    return "pool" if isinstance(item, WantedPool) else "address"


WantedItem = Annotated[
    Annotated[WantedDevice, Tag("address")] | Annotated[WantedPool, Tag("pool")],
    Discriminator(_kind),
]
WantedDevices = Annotated[
    tuple[WantedItem, ...], Field(min_length=1, max_length=LEASE_FDS, strict=False)
]


class Acquire(Params):
    """Ask for devices: whole isolation groups or nothing. A device is asked for by its address, or
    as one of a pool.

    ``hand_over`` defaults to the first that the rule allows. ``iommufd`` "none" adds devices to
    an iommufd that the client has. ``container`` "raw" leaves container and IOMMU set-up to the
    client. ``anchor`` says how long the lease lives: as long as a copy of the hold is open, as
    long as the asker's cgroup has a process, or until it is released; it defaults to the first
    that the rule allows. ``reset`` "whole-set" wants everything that a hot reset would hit, as
    well. ``wait`` is how many seconds to wait, in fair order, for groups that others have.
    ``memlock`` (bytes) wishes for less than the rule's. A ``key`` makes the call idempotent for one
    uid.
    """

    devices: WantedDevices
    hand_over: HandOver | None = None
    iommufd: Literal["new", "none"] = "new"
    container: Literal["ready", "raw"] = "ready"
    reset: Literal["if-owned", "whole-set"] | None = None
    anchor: Anchor | None = None
    wait: Seconds = 0.0
    memlock: int | None = Field(default=None, ge=0)
    key: Name | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Acquire:
        if len(self.named) + sum(wish.count for wish in self.pools) > LEASE_FDS:
            raise ValueError(f"at most {LEASE_FDS} devices a lease")
        return self

    @property
    def named(self) -> tuple[WantedDevice, ...]:
        """What is asked for by address."""
        return tuple(item for item in self.devices if isinstance(item, WantedDevice))

    @property
    def pools(self) -> tuple[WantedPool, ...]:
        """What is asked for out of pools."""
        return tuple(item for item in self.devices if isinstance(item, WantedPool))


class LeaseName(Params):
    """A lease by its id."""

    lease: Name


class RevokeLease(Params):
    """A lease by its id. With ``now`` its owner is not asked first."""

    lease: Name
    now: bool = False


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


class ClearQuarantine(Params):
    """A device that is to be trusted again; or, with ``unknown``, all that are not on record, after
    the record of what was in quarantine was lost."""

    address: AddressText | None = None
    unknown: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> ClearQuarantine:
        if (self.address is not None) == self.unknown:
            raise ValueError("name an address, or say unknown")
        return self


class SetQuarantine(Params):
    """A device, and why it is not to be trusted."""

    address: AddressText
    why: Annotated[str, Field(min_length=1, max_length=256)]
