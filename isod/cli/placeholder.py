"""Placeholders in a command's arguments: ``{iommufd}``, ``{device:01:00.0}``.

Only ``{word}`` and ``{word:argument}`` with a lower-case word directly behind the brace count, so
JSON (``{"driver": …}``), QEMU's own lists and the shell's ``${word}`` pass untouched. A word that
is none of ours is an error rather than a guess; doubling both braces passes one literally.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from isod.model.address import Address, BadAddressError
from isod.model.step import HandOver

from .handed import HandedFiles

WORDS = ("hold", "iommufd", "container", "device", "group")
_SHAPE = r"\{([a-z][a-z_]*)(?::([A-Za-z0-9:._-]+))?\}"
_ESCAPED_OR_NOT = re.compile(rf"(?<!\$)(?:\{{({_SHAPE})\}}|{_SHAPE})")


class PlaceholderError(ValueError):
    """A placeholder that cannot be filled; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder. A device is named by its position among the requested, or its address."""

    word: str
    position: int | None = None
    address: Address | None = None

    @property
    def hand_over(self) -> HandOver | None:
        """The only hand-over that can fill it, where there is only one."""
        if self.word == "iommufd":
            return "iommufd"
        return "group" if self.word in {"container", "group"} else None


def find_placeholders(
    arguments: Iterable[str], devices: Sequence[Address | None]
) -> list[Placeholder]:
    """All placeholders of a command that asks for these devices, None for one that is still to be
    chosen; PlaceholderError if one can never be filled."""
    found: list[Placeholder] = []

    def remember(placeholder: Placeholder) -> str:
        found.append(placeholder)
        return ""

    for argument in arguments:
        _substitute(argument, devices, remember)
    return found


def implied_hand_over(placeholders: Iterable[Placeholder]) -> HandOver | None:
    """The hand-over that the placeholders ask for; PlaceholderError if they contradict."""
    wanted = {p.hand_over: p.word for p in placeholders if p.hand_over is not None}
    if len(wanted) > 1:
        words = " and ".join(f"{{{word}}}" for word in sorted(wanted.values()))
        raise PlaceholderError(f"{words} belong to different hand-overs")
    return next(iter(wanted), None)


def fill_placeholders(
    arguments: Iterable[str], devices: Sequence[Address | None], files: HandedFiles
) -> list[str]:
    """The arguments with fd numbers in the placeholders' places."""

    def number(placeholder: Placeholder) -> str:
        return str(_number(placeholder, devices, files))

    return [_substitute(argument, devices, number) for argument in arguments]


def _substitute(
    argument: str, devices: Sequence[Address | None], replacement: Callable[[Placeholder], str]
) -> str:
    def replace(match: re.Match[str]) -> str:
        literal, _, _, word, text = match.groups()
        if literal is not None:
            return str(literal)
        return replacement(_parse(match[0], word, text, devices))

    return _ESCAPED_OR_NOT.sub(replace, argument)


def _parse(
    written: str, word: str, text: str | None, devices: Sequence[Address | None]
) -> Placeholder:
    if word not in WORDS:
        known = ", ".join(f"{{{known}}}" for known in WORDS)
        raise PlaceholderError(
            f"{written} is no placeholder; there are {known}. "
            f"To pass it on as it is, write {{{written}}}, or use --literal"
        )
    if word not in {"device", "group"}:
        if text is not None:
            raise PlaceholderError(f"{written}: {{{word}}} takes no argument")
        return Placeholder(word)
    if text is None or text.isdecimal():
        return _by_position(written, word, text, len(devices))
    if word == "group":
        raise PlaceholderError(f"{written}: groups are named by position, as in {{group:0}}")
    try:
        address = Address.parse(text)
    except BadAddressError as error:
        raise PlaceholderError(f"{written}: {error}") from error
    if address not in devices:
        raise PlaceholderError(f"{written}: {address} is not among the requested devices")
    return Placeholder(word, address=address)


def _by_position(written: str, word: str, text: str | None, devices: int) -> Placeholder:
    if text is None:
        if word == "device" and devices != 1:
            raise PlaceholderError(f"{written}: {devices} devices are requested; say which one")
        return Placeholder(word, position=0)
    # No more groups than devices are handed over as long as each device brings one group.
    if int(text) >= devices:
        raise PlaceholderError(f"{written}: positions go from 0 to {devices - 1}")
    return Placeholder(word, position=int(text))


def _number(placeholder: Placeholder, devices: Sequence[Address | None], files: HandedFiles) -> int:
    number: int | None
    match placeholder.word:
        case "hold":
            number = files.hold
        case "iommufd":
            number = files.iommufd
        case "container":
            number = files.container
        case "group":
            groups = tuple(files.groups.values())
            position = placeholder.position or 0
            number = groups[position] if position < len(groups) else None
        case _:
            address = placeholder.address or devices[placeholder.position or 0]
            number = None if address is None else files.devices.get(address)
    if number is None:
        raise PlaceholderError(f"the lease came without a file for {{{placeholder.word}}}")
    return number
