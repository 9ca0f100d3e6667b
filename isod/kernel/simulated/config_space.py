"""Config space of simulated devices, as far as anybody reads it: header and capabilities."""

from __future__ import annotations

import struct
from functools import lru_cache

from .topology import Model

_EXPRESS_AT, _ACS_AT = 0x40, 0x100
_ROOT_OR_DOWNSTREAM = (4, 6)


@lru_cache(maxsize=256)
def config_bytes(model: Model, *, several: bool, virtual: bool) -> bytes:
    """256 bytes of a conventional device, 4096 of a PCI Express one. ``several``: a device of more
    than one function. ``virtual``: a virtual function, which has no ids of its own."""
    space = bytearray(256 if model.express is None else 4096)
    ids = (0xFFFF, 0xFFFF) if virtual else (int(model.vendor, 16), int(model.product, 16))
    struct.pack_into("<HH", space, 0x00, *ids)
    struct.pack_into("<I", space, 0x08, int(model.device_class, 16) << 8)
    space[0x0E] = (1 if model.bridge else 0) | (0x80 if several and not virtual else 0)
    if model.express is None:
        return bytes(space)
    struct.pack_into("<H", space, 0x06, 0x0010)
    space[0x34] = _EXPRESS_AT
    slot = 0x100 if model.express in _ROOT_OR_DOWNSTREAM else 0
    struct.pack_into("<BBH", space, _EXPRESS_AT, 0x10, 0, 0x0002 | model.express << 4 | slot)
    if model.acs is not None:
        struct.pack_into("<IHH", space, _ACS_AT, 0x0001_000D, *model.acs)
    return bytes(space)
