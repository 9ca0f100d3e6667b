"""Lists in pages. A cursor names the last item shown, so it stays good however the list changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from isod.core.view import lease_info
from isod.model.address import Address, BadAddressError
from isod.model.lease import Lease
from isod.model.reason import Reason, RefusedError
from isod.model.reply import LeasePage
from isod.model.request import PACKET_BYTES, Page

_ENVELOPE = 512  # what stands around a result, with the longest id


class Ordered(Protocol):
    def __gt__(self, other: Any, /) -> bool: ...


Item = TypeVar("Item", bound=Ordered)


def page_of(
    items: Sequence[Item],
    params: Page,
    cursor: Callable[[str], Item],
    build: Callable[[Sequence[Item], str | None], BaseModel],
) -> BaseModel:
    """The page of sorted ``items`` that ``params`` asks for, made by ``build`` of the items and the
    cursor of the next page. Shortened until it fits a packet: one device with many relatives may
    be long. Raises RefusedError for a cursor that is none."""
    if params.after is not None:
        after = cursor(params.after)
        items = [item for item in items if item > after]
    found, more = items[: params.limit], len(items) > params.limit
    while True:
        page = build(found, str(found[-1]) if more else None)
        if len(found) <= 1 or len(page.model_dump_json()) < PACKET_BYTES - _ENVELOPE:
            return page
        found, more = found[: len(found) // 2], True


def address_cursor(text: str) -> Address:
    try:
        return Address.parse(text)
    except BadAddressError as error:
        raise RefusedError(Reason.expired, "not a cursor of this list") from error


def number_cursor(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise RefusedError(Reason.expired, "not a cursor of this list")
    return int(text)


def lease_page(leases: Iterable[Lease], params: Page) -> BaseModel:
    """A page of these leases, in the order of their numbers."""
    numbered = {int(lease.id[1:]): lease for lease in leases}
    return page_of(
        sorted(numbered),
        params,
        number_cursor,
        lambda found, following: LeasePage(
            leases=tuple(lease_info(numbered[number]) for number in found), next=following
        ),
    )
