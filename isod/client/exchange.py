"""What a client says for each of its methods, without I/O and for both kinds of client.

An exchange is a generator: it yields Questions, is sent their Answers, or has their errors thrown
into it, and returns what the method returns. Fds that came with an answer are owned by what it
returns; on any error they are closed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

import isod
from isod.model import notice, reply, request, reset
from isod.model.address import Address
from isod.model.isolation import IsolationInfo
from isod.model.reason import Reason
from isod.model.step import HandOver
from isod.model.terms import Anchor
from isod.wire.jsonrpc import Code
from isod.wire.packet import close_all

from .conversation import Answer
from .errors import CallError, ProtocolError, Refused
from .files import LeasedFiles

NAME = f"isod-python/{isod.__version__}"
LISTING_TRIES = 4
# After a lost answer: how often and when to look again for what became of the lease.
SETTLING = (0.1, 0.4, 1.0)
# How long the devices of a lease whose answer was lost may take to come back.
ENDING_SECONDS = 30.0
PAGE_ITEMS = 100

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
PageModel = TypeVar("PageModel", reply.DevicePage, reply.GroupPage, reply.LeasePage)
Wanted = Address | str | request.WantedDevice | request.WantedPool


@dataclass(frozen=True, slots=True)
class Question:
    """A call to be made, ``after`` so many seconds."""

    method: str
    params: BaseModel | Mapping[str, object]
    after: float = 0.0


Exchange = Generator[Question, Answer, T]


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as it was handed over."""

    lease: reply.LeaseInfo
    warnings: tuple[str, ...]
    files: LeasedFiles


def call(method: str, params: Mapping[str, object]) -> Exchange[object]:
    """Any method, raw. Fds that come with the reply are closed."""
    answer = yield Question(method, params)
    close_all(answer.fds)
    return answer.value


def hello(name: str) -> Exchange[reply.HelloResult]:
    """Agree on the protocol."""
    asked = request.Hello(client=name, protocol=request.PROTOCOL)
    greeting = yield from _plain("hello", asked, reply.HelloResult)
    if greeting.protocol != request.PROTOCOL:
        raise ProtocolError(f"the daemon speaks protocol {greeting.protocol}")
    return greeting


def info() -> Exchange[reply.HostInfo]:
    return _plain("host.info", request.NoParams(), reply.HostInfo)


def devices() -> Exchange[tuple[reply.DeviceInfo, ...]]:
    return _listing("host.devices", reply.DevicePage, lambda page: page.devices)


def groups() -> Exchange[tuple[reply.GroupInfo, ...]]:
    return _listing("host.groups", reply.GroupPage, lambda page: page.groups)


def isolation(address: Address | str) -> Exchange[IsolationInfo]:
    """Raises ValueError at once for an address that is none."""
    asked = request.OneDevice(address=_address(address))
    return _plain("host.isolation", asked, IsolationInfo)


def reset_set(address: Address | str) -> Exchange[reset.ResetSetInfo]:
    """Raises ValueError at once for an address that is none."""
    asked = request.OneDevice(address=_address(address))
    return _plain("host.reset_set", asked, reset.ResetSetInfo)


def leases() -> Exchange[tuple[reply.LeaseInfo, ...]]:
    return _listing("lease.list", reply.LeasePage, lambda page: page.leases)


def lease(identity: str) -> Exchange[reply.LeaseInfo]:
    found = yield from _plain("lease.get", request.LeaseName(lease=identity), reply.LeaseResult)
    return found.lease


def release(identity: str, secret: str) -> Exchange[reply.LeaseInfo]:
    asked = request.OwnLease(lease=identity, secret=secret)
    found = yield from _plain("lease.release", asked, reply.LeaseResult)
    return found.lease


def acquire(
    wanted: Iterable[Wanted],
    hand_over: HandOver | None,
    iommufd: Literal["new", "none"],
    container: Literal["ready", "raw"],
    reset: Literal["if-owned", "whole-set"] | None,
    wait: float,
    memlock: int | None,
    key: str | None,
    anchor: Anchor | None,
) -> Exchange[Grant]:
    """Raises ValueError at once for what is no request at all, a bad address for instance."""
    asked = request.Acquire(
        devices=tuple(_wanted(one) for one in wanted),
        hand_over=hand_over,
        iommufd=iommufd,
        container=container,
        reset=reset,
        wait=wait,
        memlock=memlock,
        key=key,
        anchor=anchor,
    )
    return _acquired(asked)


def _acquired(asked: request.Acquire) -> Exchange[Grant]:
    """The lease and its files, also if the first answer was lost with a connection. Then its hold
    went, too, and the lease ends if it lives by that: wait for its end, and get another. A lease
    with another anchor stands, and gives its files again."""
    question, again = Question("lease.acquire", asked), False
    tries = iter(SETTLING)
    while True:
        try:
            answer = yield question
        except Refused as refused:
            again = again or refused.repeated
            if not again or not (yield from _is_the_lost_one(refused, asked)):
                raise
            pause = next(tries, None)
            if pause is None:
                raise
            patient = asked.model_copy(update={"wait": max(asked.wait, ENDING_SECONDS)})
            question = Question("lease.acquire", patient, pause)
            continue
        grant, again = _granted(answer), again or answer.repeated
        if not again or len(grant.files) or not _has_files(grant.lease):
            return grant
        opened = yield from _opened(grant)
        pause = next(tries, None)
        if opened is not None or pause is None:
            return opened or grant
        question = Question("lease.acquire", asked, pause)


def _is_the_lost_one(refused: Refused, asked: request.Acquire) -> Exchange[bool]:
    """Whether what is asked for belongs to the very lease whose answer was lost."""
    holder = refused.data.get("holder")
    name = holder.get("lease") if isinstance(holder, dict) and holder.get("yours") else None
    if refused.reason is not Reason.group_busy or not isinstance(name, str):
        return False
    try:
        found = yield from lease(name)
    except Refused as gone:
        return gone.reason is Reason.not_found
    return found.key is not None and found.key == asked.key


def _opened(grant: Grant) -> Exchange[Grant | None]:
    """The lease with fresh files; None if it gives none, or not yet. Whoever asks it then is told
    why."""
    secret = grant.lease.secret
    if secret is None or grant.lease.state != "leased":
        return None
    try:
        fresh = yield from reopen(grant.lease.id, secret)
    except Refused:
        return None
    return replace(fresh, lease=fresh.lease.model_copy(update={"secret": secret}))


def _has_files(lease: reply.LeaseInfo) -> bool:
    return lease.anchor == "hold" or lease.hand_over != "nodes"


def reopen(identity: str, secret: str) -> Exchange[Grant]:
    """lease.open: fresh fds of one's own lease."""
    asked = request.OwnLease(lease=identity, secret=secret)
    return _granted((yield Question("lease.open", asked)))


def subscribe(kinds: tuple[request.Family, ...], since: int | None) -> Exchange[notice.Subscribed]:
    """Raises ValueError at once for kinds that there are not."""
    asked = request.Subscribe(kinds=kinds, since=since)
    return _plain("events.subscribe", asked, notice.Subscribed)


def unsubscribe(subscription: str) -> Exchange[notice.Unsubscribed]:
    asked = request.SubscriptionName(subscription=subscription)
    return _plain("events.unsubscribe", asked, notice.Unsubscribed)


def _wanted(one: Wanted) -> request.WantedDevice | request.WantedPool:
    if isinstance(one, str):
        return request.parse_wanted(one)
    return request.WantedDevice(address=one) if isinstance(one, Address) else one


def _address(one: Address | str) -> Address:
    return Address.parse(one) if isinstance(one, str) else one


def _granted(answer: Answer) -> Grant:
    result = _read(answer, reply.AcquireResult)
    return Grant(result.lease, result.warnings, LeasedFiles(result.fds, answer.fds))


def _plain(method: str, params: BaseModel, kind: type[Model]) -> Exchange[Model]:
    """A call whose reply carries no fds."""
    answer = yield Question(method, params)
    result = _read(answer, kind)
    close_all(answer.fds)
    return result


def _listing(
    method: str, kind: type[PageModel], items: Callable[[PageModel], tuple[T, ...]]
) -> Exchange[tuple[T, ...]]:
    """All pages of a list, of one state of the host: when it changes meanwhile, start again."""
    tries = 0
    while True:
        tries += 1
        try:
            return (yield from _pages(method, kind, items))
        except Refused as refused:
            if refused.reason is not Reason.expired or tries == LISTING_TRIES:
                raise


def _pages(
    method: str, kind: type[PageModel], items: Callable[[PageModel], tuple[T, ...]]
) -> Exchange[tuple[T, ...]]:
    found: list[T] = []
    after: str | None = None
    limit = PAGE_ITEMS
    while True:
        try:
            page = yield from _plain(method, request.Page(limit=limit, after=after), kind)
        except CallError as error:
            if error.code != Code.reply_too_long or limit == 1:
                raise
            limit //= 2
            continue
        found += items(page)
        if page.next is None:
            return tuple(found)
        if page.next == after:
            raise ProtocolError(f"{method} leads from page {after!r} to itself")
        after = page.next


def _read(answer: Answer, kind: type[Model]) -> Model:
    """The result as a model. On an error the answer's fds are closed."""
    try:
        return kind.model_validate(answer.value)
    except ValidationError as error:
        close_all(answer.fds)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "result"
        raise ProtocolError(
            f"a result that is no {kind.__name__}: {place}: {first['msg']}"
        ) from None
