"""Config space written down by hand, register by register."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


@dataclass
class Written:
    """Bytes that a test fills in. ``size`` is 256 for a conventional device."""

    size: int = 4096
    header_type: int = 0
    ids: tuple[int, int] = (0x8086, 0x10D3)
    space: bytearray = field(init=False)
    _plain: int = 0x34
    _extended: int = 0

    def __post_init__(self) -> None:
        self.space = bytearray(self.size)
        struct.pack_into("<HH", self.space, 0, *self.ids)
        self.space[0x0E] = self.header_type

    def capability(self, identity: int, at: int, content: bytes = b"") -> Written:
        """Append to the list of the first 256 bytes."""
        self.space[0x06] |= 0x10
        self.space[self._plain] = at
        self.space[at : at + 2] = bytes([identity, 0])
        self.space[at + 2 : at + 2 + len(content)] = content
        self._plain = at + 1
        return self

    def express(self, port: int, at: int = 0x40, slot: int | None = None) -> Written:
        flags = 2 | port << 4 | (0 if slot is None else 0x100)
        content = struct.pack("<H", flags).ljust(0x12, b"\0")
        return self.capability(0x10, at, content + struct.pack("<I", (slot or 0) << 19))

    def extended(self, identity: int, at: int, content: bytes = b"") -> Written:
        """Append to the list that begins at 256."""
        if self._extended:
            (head,) = struct.unpack_from("<I", self.space, self._extended)
            struct.pack_into("<I", self.space, self._extended, head & 0xFFFFF | at << 20)
        struct.pack_into("<I", self.space, at, identity | 1 << 16)
        self.space[at + 4 : at + 4 + len(content)] = content
        self._extended = at
        return self

    def acs(self, capabilities: int, control: int, at: int = 0x100) -> Written:
        return self.extended(0x0D, at, struct.pack("<HH", capabilities, control))

    def bytes(self) -> bytes:
        return bytes(self.space)
