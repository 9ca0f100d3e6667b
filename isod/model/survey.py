"""What config space says of PCI functions: what a survey found out, and the file that it leaves.

sysfs shows neither the kind of a PCI Express port nor Access Control Services (ACS), and an
unprivileged reader of config space gets its first 64 bytes. So a command of its own reads it,
and the daemon only reads the file.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .request import AddressText

SURVEY_FILE = "survey.json"
SURVEY_VERSION: Literal[1] = 1
SURVEY_FUNCTIONS = 65536

_Word = Annotated[int, Field(ge=0, le=0xFFFF)]


class PortType(StrEnum):
    """Device/Port Type of the PCI Express capability (PCI Express Base Specification, 7.5.3.2)."""

    endpoint = "endpoint"
    legacy_endpoint = "legacy endpoint"
    root_port = "root port"
    upstream_port = "upstream port"
    downstream_port = "downstream port"
    pci_bridge = "bridge to PCI"
    pcie_bridge = "bridge from PCI"
    integrated_endpoint = "integrated endpoint"
    event_collector = "event collector"
    reserved = "reserved"


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Express(_Facts):
    """The PCI Express capability. ``slot`` is the number of the physical slot below a port."""

    port: PortType
    slot: int | None = Field(default=None, ge=0, le=0x1FFF)


class Acs(_Facts):
    """The ACS extended capability: which controls there are, and which are on, as bits of
    ``AcsBit``."""

    capabilities: _Word
    control: _Word


class Ari(_Facts):
    """The ARI extended capability: function numbers go to 255. ``following`` is the next one."""

    following: int = Field(ge=0, le=0xFF)


class Sriov(_Facts):
    """The SR-IOV extended capability: how many virtual functions there can be, and are."""

    total: _Word
    enabled: _Word


class SurveyedFunction(_Facts):
    """One function's config space.

    ``capabilities`` and ``extended`` say whether the two lists of capabilities were read to their
    ends: only then does an ``express`` or ``acs`` of None mean that there is none; else nobody
    knows. ``header_type`` is without the bit for ``multifunction``, and None where nothing could
    be read (all ones: the function does not answer).
    """

    address: AddressText
    generation: int = Field(ge=0)
    header_type: int | None = Field(default=None, ge=0, le=0x7F)
    multifunction: bool = False
    capabilities: bool = False
    extended: bool = False
    express: Express | None = None
    acs: Acs | None = None
    ari: Ari | None = None
    sriov: Sriov | None = None


class Survey(_Facts):
    """The file ``survey.json``."""

    version: Literal[1]
    functions: tuple[SurveyedFunction, ...] = Field(max_length=SURVEY_FUNCTIONS)
