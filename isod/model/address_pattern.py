"""Addresses as policy files write them: exact ones, and shell patterns over whole addresses.

A pattern that could match no address at all would be passed over in silence, a deny as well as an
allow; so it is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from string import ascii_letters, digits

from .address import Address, BadAddressError

_HEX = frozenset("0123456789abcdef")
_WORD = frozenset(ascii_letters + digits + "_")
_LONGEST = 256
# A part of a shell pattern: a star, a set in brackets (a "]" that comes first belongs to it), or
# one letter, a bracket that is not closed among them.
_PART = re.compile(r"\*+|\[!?\]?[^\]]*\]|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Form:
    """What an address may look like: which letters may stand at each place. It is at least
    ``least`` letters long."""

    places: tuple[frozenset[str], ...]
    least: int

    @classmethod
    def of(cls, picture: str) -> _Form:
        """``x`` stands for a hexadecimal digit; every other letter for itself, but for those of
        which PCI has fewer: ``s`` for the first of a slot, ``f`` for a function, ``d`` for the
        first of a domain that is longer than four."""
        few = {"x": _HEX, "s": frozenset("01"), "f": frozenset("01234567"), "d": _HEX - {"0"}}
        places = tuple(few.get(letter, frozenset(letter)) for letter in picture)
        return cls(places, len(places))

    def can_match(self, pattern: str) -> bool:
        """Whether some address of this form matches the pattern. ``reached`` are the numbers of
        letters that the parts so far may have taken."""
        reached = {0}
        for part in _PART.findall(pattern):
            if part.startswith("*"):
                reached = set(range(min(reached), len(self.places) + 1))
            else:
                reached = {
                    place + 1
                    for place in reached
                    if place < len(self.places)
                    and any(fnmatchcase(letter, part) for letter in self.places[place])
                }
            if not reached:
                return False
        return any(place >= self.least for place in reached)


_FORMS = {
    "pci": tuple(
        _Form.of(f"{domain}:xx:sx.f") for domain in ("xxxx", *("d" + "x" * n for n in range(4, 8)))
    ),
    "mdev": (_Form.of("-".join("x" * length for length in (8, 4, 4, 4, 12))),),
    "vdpa": (_Form((_WORD, *[_WORD | {".", "-"}] * 63), 1),),
}


def exact_address(text: str) -> str:
    """The address in the words in which devices are named: domain 0000 and lower case included.
    Raises ValueError."""
    if _has_wildcards(text):
        raise ValueError("an exact address has no wildcards")
    try:
        return str(Address.parse(text))
    except BadAddressError:
        raise ValueError(
            f"{text[:80]!r} is no address; one looks like pci:0000:01:00.0, mdev:UUID or vdpa:NAME"
        ) from None


def pci_address(text: str) -> str:
    """As ``exact_address``, of what can only be a PCI device. Raises ValueError."""
    address = exact_address(text)
    if not address.startswith("pci:"):
        raise ValueError("that is no PCI device, as a bridge is")
    return address


def address_pattern(text: str) -> str:
    """An exact address, or a pattern that can match some address as it is written in whole.

    Of a PCI address the domain may be left out, as in ``pci:01:00.*``, which means domain 0000.
    Raises ValueError, also for what can be read with and without a domain.
    """
    if not _has_wildcards(text):
        return exact_address(text)
    bus, _, name = text.partition(":")
    if bus not in _FORMS:
        raise ValueError("an address pattern starts with pci:, mdev: or vdpa:")
    if len(text) > _LONGEST:
        raise ValueError(f"an address pattern has at most {_LONGEST} letters")
    if bus != "vdpa":
        name = name.lower()
    readings = list(_readings(bus, name))
    if not readings:
        raise ValueError(f"no {bus} address looks like {text[:80]!r}: the pattern matches nothing")
    # What begins with a star matches in any domain, and so all that the second reading would.
    if len(readings) > 1 and not name.startswith("*"):
        raise ValueError(f"say which domain is meant, as in 'pci:0000:{name[:80]}'")
    return f"{bus}:{readings[0]}"


def _readings(bus: str, name: str) -> Iterator[str]:
    without_domain = (name, f"0000:{name}") if bus == "pci" else (name,)
    return (text for text in without_domain if any(f.can_match(text) for f in _FORMS[bus]))


def _has_wildcards(text: str) -> bool:
    return any(letter in text for letter in "*?[")
