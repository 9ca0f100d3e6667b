"""What the policy says of one request: who may have which devices, on which terms.

Every requested device is decided on its own and all must be allowed. Terms constrain: what lies
outside them is refused with the term's name and never falls through to a later rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from isod.model.host import Device, Group, HostSnapshot
from isod.model.peer import Peer
from isod.model.policy import Policy, Rule
from isod.model.reason import Reason, RefusedError
from isod.model.request import Acquire
from isod.model.step import HandOver, Scrub
from isod.model.terms import Anchor, Quota, Revoke, Terms

from .isolation import Isolation, blocks_ownership, can_be_owned
from .match import first_match, matches_what, names_exactly
from .reset_set import ResetSets
from .whole_set import pulled_in

Value = TypeVar("Value")
_SCRUB_ORDER: tuple[Scrub, ...] = ("off", "try", "require")


@dataclass(frozen=True, slots=True)
class Decision:
    """An allowance: the rule that decided about each requested device, the terms merged of
    theirs, the hand-over and the anchor. ``extras`` come along with the reset set; ``groups`` are
    all that the grant takes, those included that a quirk joins. ``rule`` and ``file`` name the
    first device's."""

    rules: tuple[Rule, ...]
    terms: Terms
    hand_over: HandOver
    extras: tuple[Device, ...] = ()
    groups: tuple[Group, ...] = ()
    anchor: Anchor = "hold"

    @property
    def rule(self) -> str:
        return self.rules[0].name

    @property
    def file(self) -> str:
        return self.rules[0].file


def merge(terms: Sequence[Terms]) -> Terms:
    """The stricter of each term. Raises RefusedError ``terms_conflict`` if nothing is left.

    ============  =====================================================
    hand_over     what all allow, in the first one's order
    memlock       the smallest; not raised if one does not raise it
    scrub         the strictest of off, try, require
    reset         whole-set if one says so
    take_from     what all list; likewise may_take, critical_ok, anchor
    quota         the smallest
    revoke        kill if one says so, after the shortest time to ask
    ============  =====================================================
    """
    hand_over = _common([t.hand_over for t in terms])
    anchor = _common([t.anchor for t in terms])
    for name, left in (("hand_over", hand_over), ("anchor", anchor)):
        if not left:
            raise RefusedError(
                Reason.terms_conflict,
                f"the rules of these devices allow no common {name}",
                term=name,
            )
    limits = [t.memlock for t in terms]
    return Terms(
        hand_over=hand_over,
        memlock=None if None in limits else min(m for m in limits if m is not None),
        scrub=max((t.scrub for t in terms), key=_SCRUB_ORDER.index),
        reset="whole-set" if any(t.reset == "whole-set" for t in terms) else "if-owned",
        take_from=_common([t.take_from for t in terms]),
        may_take=_common([t.may_take for t in terms]),
        critical_ok=_common([t.critical_ok for t in terms]),
        quota=Quota(
            _smallest([t.quota.devices for t in terms]), _smallest([t.quota.total for t in terms])
        ),
        revoke=Revoke(
            min(t.revoke.ask for t in terms),
            "kill" if any(t.revoke.then == "kill" for t in terms) else "wait",
        ),
        anchor=anchor,
    )


def _common(lists: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
    first, *others = lists
    return tuple(value for value in first if all(value in other for other in others))


def _smallest(limits: Sequence[int | None]) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def decide(
    policy: Policy,
    snapshot: HostSnapshot,
    peer: Peer,
    request: Acquire,
    requested: Sequence[Device],
    offered: Sequence[HandOver],
    isolation: Isolation | None = None,
    sets: ResetSets | None = None,
) -> Decision:
    """Decide about a request whose devices exist. Raises RefusedError.

    ``isolation`` and ``sets`` are worked out here unless the caller has them already.
    """
    rules = [_allowing_rule(policy, peer, device) for device in requested]
    terms = merge([rule.terms for rule in rules])
    hand_over = _hand_over(request, terms, offered)
    if request.memlock is not None and request.memlock > (terms.memlock or 0):
        raise RefusedError(
            Reason.terms,
            f"memlock of {request.memlock} bytes is more than the rule {rules[0].name} allows",
            term="memlock",
        )
    extras = _extras(policy, sets or ResetSets(snapshot), peer, request, requested, terms)
    wanted = {device.address for device in (*requested, *extras)}
    groups = (isolation or Isolation(snapshot, policy)).groups_of(wanted)
    for group in groups:
        # A group that only a quirk brings along is parked, and its fd is not handed over.
        handed = not wanted.isdisjoint(group.members)
        for member in snapshot.members(group.number):
            if member.is_bridge or member.address in wanted:
                continue
            _judge_sibling(policy, peer, member, hand_over if handed else "iommufd")
    _judge_drivers(policy, snapshot, peer, rules, requested, groups, terms)
    return Decision(tuple(rules), terms, hand_over, extras, groups, _anchor(request, terms))


def _extras(
    policy: Policy,
    sets: ResetSets,
    peer: Peer,
    request: Acquire,
    requested: Sequence[Device],
    terms: Terms,
) -> tuple[Device, ...]:
    """What the reset set pulls in: handed out as well, so each needs an allow or ``may_take``."""
    if request.reset == "if-owned" and terms.reset == "whole-set":
        raise RefusedError(Reason.terms, "the rule grants whole reset sets only", term="reset")
    if "whole-set" not in (request.reset, terms.reset):
        return ()
    extras = pulled_in(sets, requested)
    for extra in extras:
        rule = first_match(policy, peer, extra)
        if rule is None and any(matches_what(what, extra, policy) for what in terms.may_take):
            continue
        if rule is None or not rule.allow:
            by = f"rule {rule.name} denies it" if rule else "no rule allows it, and no may_take"
            raise RefusedError(
                Reason.denied,
                f"a hot reset would hit {extra.address.short}, which is not for you: {by}",
                devices=[str(extra.address)],
                rule=rule.name if rule else None,
            )
    return extras


def _allowing_rule(policy: Policy, peer: Peer, device: Device) -> Rule:
    rule = first_match(policy, peer, device)
    if rule is None or not rule.allow:
        by = f"rule {rule.name} denies it" if rule else "no rule allows it"
        raise RefusedError(
            Reason.denied,
            f"{device.address.short} is not for you: {by}",
            devices=[str(device.address)],
            rule=rule.name if rule else None,
        )
    return rule


def _judge_sibling(policy: Policy, peer: Peer, sibling: Device, hand_over: HandOver) -> None:
    """On ``iommufd`` a sibling is parked and out of reach, so only a deny counts; ``group`` and
    ``nodes`` reach every endpoint of the group (GET_DEVICE_FD), so each needs an allow."""
    rule = first_match(policy, peer, sibling)
    if rule is not None and rule.allow:
        return
    if rule is None and hand_over == "iommufd":
        return
    why = f"rule {rule.name} denies it" if rule else f"{hand_over} would reach it, too"
    raise RefusedError(
        Reason.denied,
        f"{sibling.address.short} shares the group and is not for you: {why}",
        devices=[str(sibling.address)],
        rule=rule.name if rule else None,
    )


def _judge_drivers(
    policy: Policy,
    snapshot: HostSnapshot,
    peer: Peer,
    rules: Sequence[Rule],
    requested: Sequence[Device],
    groups: Sequence[Group],
    terms: Terms,
) -> None:
    """A device bound to a kernel driver is in use. It is taken only by a rule that names its
    exact address, or that lists the driver in ``take_from``."""
    deciding = {device.address: rule for device, rule in zip(requested, rules, strict=True)}
    for group in groups:
        members = snapshot.members(group.number)
        for member in members if can_be_owned(members) else ():
            rule = deciding.get(member.address) or first_match(policy, peer, member)
            if _must_be_taken(member, member.address in deciding):
                _judge_driver(policy, rule, member, terms)


def _judge_driver(policy: Policy, rule: Rule | None, member: Device, terms: Terms) -> None:
    if member.driver is None or member.driver in terms.take_from:
        return
    if rule is not None and rule.allow and names_exactly(rule, member, policy):
        return
    if member.is_bridge:
        raise RefusedError(
            Reason.not_viable,
            f"bridge {member.address.short} of group {member.group} is bound to "
            f"{member.driver}, which keeps the group from being handed out",
            hint=f'list "{member.driver}" in take_from of the rule',
            devices=[str(member.address)],
            driver=member.driver,
        )
    raise RefusedError(
        Reason.in_use_by_driver,
        f"{member.address.short} is in use by the driver {member.driver}",
        devices=[str(member.address)],
        driver=member.driver,
    )


def judge_added(
    policy: Policy, peer: Peer, device: Device, terms: Terms, hand_over: HandOver
) -> None:
    """Decide about a device that was added to a leased group, as about a sibling at the grant.
    ``hand_over`` is how its group was handed over. Raises RefusedError."""
    _judge_sibling(policy, peer, device, hand_over)
    if _must_be_taken(device, is_requested=False):
        _judge_driver(policy, first_match(policy, peer, device), device, terms)


def _must_be_taken(member: Device, is_requested: bool) -> bool:
    if member.on_vfio:
        return False
    return blocks_ownership(member) or (is_requested and not member.is_bridge)


def _anchor(request: Acquire, terms: Terms) -> Anchor:
    """The wish, or the first that the rule allows."""
    if request.anchor is None:
        return terms.anchor[0]
    if request.anchor not in terms.anchor:
        raise RefusedError(
            Reason.terms,
            f"the rule does not allow the anchor {request.anchor}",
            hint=f"ask for {' or '.join(terms.anchor)}",
            term="anchor",
        )
    return request.anchor


def _hand_over(request: Acquire, terms: Terms, offered: Iterable[HandOver]) -> HandOver:
    possible = [h for h in terms.hand_over if h in set(offered)]
    wish = request.hand_over
    if wish is None:
        if not possible:
            raise RefusedError(
                Reason.unsupported, "this kernel offers no hand-over that the rule allows"
            )
        return possible[0]
    if wish not in terms.hand_over:
        raise RefusedError(
            Reason.terms,
            f"the rule does not allow the hand-over {wish}",
            hint=f"ask for {' or '.join(terms.hand_over)}",
            term="hand_over",
        )
    if wish not in possible:
        raise RefusedError(Reason.unsupported, f"this kernel does not offer {wish}")
    return wish
