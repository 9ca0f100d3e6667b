"""Devices that wait on vfio-pci for who will ask for them (``bind = "ahead"`` of a pool), what
happens to them, and what the ledger wants done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .address import Address
from .reason import Refusal
from .step import GroupName, Step

# ``unsure``: found in the store at a start, or a way back that did not come to its end. What state
# the device is in only the device tells.
KeptState = Literal["binding", "waiting", "returning", "unsure"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A device that is kept on vfio-pci for ``pool``, with the driver and override to put back.

    ``domain`` is all that shares its fate, for the ledger's one operation per reset domain.
    """

    address: Address
    generation: int
    group: GroupName
    pool: str
    former_driver: str | None = None
    former_override: str | None = None
    domain: tuple[Address, ...] = ()
    state: KeptState = "binding"


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Keep:
    """A free device shall wait on vfio-pci. Of one that is kept already the row counts."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class KeptFound:
    """A row of the store, read at start."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class Bound:
    """It is on vfio-pci."""

    address: Address


@dataclass(frozen=True, slots=True)
class NotBound:
    """It is not, because of ``refusal``; ``stranded`` says why it could not be put back either."""

    address: Address
    refusal: Refusal
    stranded: Refusal | None = None


@dataclass(frozen=True, slots=True)
class PutBack:
    """No pool keeps it any more, and nobody has it."""

    address: Address


@dataclass(frozen=True, slots=True)
class WasPutBack:
    """It has its former driver and override again."""

    address: Address


@dataclass(frozen=True, slots=True)
class NotPutBack:
    """It could not be put back, and may be on no driver by now."""

    address: Address
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class NoLongerKept:
    """It is gone, or somebody took it off vfio-pci by hand: there is nothing to put back."""

    address: Address


AheadEvent = Keep | KeptFound | Bound | NotBound | PutBack | WasPutBack | NotPutBack | NoLongerKept

# --- effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RememberKept:
    """Write the row, before anything else is done."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class ForgetKept:
    """Delete the row."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class BindAhead:
    """Run ``steps``; if one fails ``back``. Answer with Bound or NotBound."""

    kept: Kept
    steps: tuple[Step, ...]
    back: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class TakeBack:
    """If nobody has the device open, run ``steps``. Answer with WasPutBack or NotPutBack."""

    kept: Kept
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the log what went wrong with a device."""

    kept: Kept
    text: str


AheadEffect = RememberKept | ForgetKept | BindAhead | TakeBack | Tell
