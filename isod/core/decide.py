"""What the policy says of one request: who may have which devices, on which terms.

Every requested device is decided on its own and all must be allowed. Terms constrain: what lies
outside them is refused with the term's name and never falls through to a later rule. That goes for
what comes along, too: a device that needs an allow is under the terms of the rule that allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from isod.model.address import Address
from isod.model.host import Device, Group, HostSnapshot
from isod.model.lease import Lease
from isod.model.peer import Peer
from isod.model.policy import Policy, Rule
from isod.model.reason import Reason, RefusedError
from isod.model.request import Acquire
from isod.model.step import HandOver
from isod.model.terms import Anchor, Terms

from .in_use import judge_driver, judge_drivers, must_be_taken
from .isolation import Isolation
from .match import first_match, matches_what
from .reset_set import ResetSets
from .stricter import merge, stricter_scrub
from .whole_set import pulled_in, within

_ALONG = "give the rules of these devices, and of those that come along, a term in common"
Allowed = tuple[Device, Rule]


@dataclass(frozen=True, slots=True)
class Decision:
    """An allowance: the rule that decided about each requested device, the terms merged of
    theirs and of what comes along, the hand-over and the anchor. ``extras`` come along with the
    reset set, each by the rule at its place in ``extra_rules``; None: by ``may_take``. ``groups``
    are all that the grant takes, those included that a quirk joins. ``rule`` and ``file`` name the
    first device's."""

    rules: tuple[Rule, ...]
    terms: Terms
    hand_over: HandOver
    extras: tuple[Device, ...] = ()
    extra_rules: tuple[Rule | None, ...] = ()
    groups: tuple[Group, ...] = ()
    anchor: Anchor = "hold"

    @property
    def rule(self) -> str:
        return self.rules[0].name

    @property
    def file(self) -> str:
        return self.rules[0].file

    @property
    def along(self) -> tuple[Rule, ...]:
        """The rules in whose quotas the extras count, with one device at each mention."""
        return tuple(rule for rule in self.extra_rules if rule is not None)


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
    sets = sets or ResetSets(snapshot)
    rules = [_allowing_rule(policy, peer, device) for device in requested]
    terms = merge([rule.terms for rule in rules])
    extras, extra_rules = _extras(policy, sets, peer, request, requested, terms)
    deciding = [*rules, *(rule for rule in extra_rules if rule is not None)]
    terms = merge([rule.terms for rule in deciding], _ALONG)
    wanted = {device.address for device in (*requested, *extras)}
    groups = (isolation or Isolation(snapshot, policy)).groups_of(wanted)
    reached, parked = _siblings(snapshot, groups, wanted)
    allowed = [*_allowed(policy, peer, reached)]
    hand_over = _hand_over(request, terms, offered, allowed)
    for sibling in reached:
        _judge_sibling(policy, peer, sibling, hand_over)
    for sibling in parked:
        _judge_sibling(policy, peer, sibling, "iommufd")
    own: dict[Address, Rule] = {}
    if hand_over != "iommufd":
        own = {sibling.address: rule for sibling, rule in allowed}
        _judge_sets(sets, request, requested, allowed, groups)
        deciding += (rule for _, rule in allowed)
        terms = _as_reached(terms, merge([rule.terms for rule in deciding], _ALONG))
    _judge_memlock(request, deciding)
    judge_drivers(policy, snapshot, peer, wanted, groups, terms, own)
    return Decision(
        tuple(rules), terms, hand_over, extras, extra_rules, groups, _anchor(request, terms)
    )


def _as_reached(terms: Terms, stricter: Terms) -> Terms:
    """The terms of a grant that reaches siblings, too: the stricter ones, but for the exceptions
    that the rules of what was asked for list, each for a driver or device of its own. The rules of
    siblings need not repeat them; they say for themselves from which driver each is taken."""
    return replace(
        stricter,
        take_from=terms.take_from,
        may_take=terms.may_take,
        critical_ok=terms.critical_ok,
    )


def _extras(
    policy: Policy,
    sets: ResetSets,
    peer: Peer,
    request: Acquire,
    requested: Sequence[Device],
    terms: Terms,
) -> tuple[tuple[Device, ...], tuple[Rule | None, ...]]:
    """What the reset set pulls in: handed out as well, so each needs an allow or ``may_take``.
    With the rules that allow them; None: ``may_take`` of the ``terms`` of what was requested."""
    if request.reset == "if-owned" and terms.reset == "whole-set":
        raise RefusedError(Reason.terms, "the rule grants whole reset sets only", term="reset")
    if "whole-set" not in (request.reset, terms.reset):
        return (), ()
    extras = pulled_in(sets, requested, by_rule=terms.reset == "whole-set")
    rules = tuple(first_match(policy, peer, extra) for extra in extras)
    for extra, rule in zip(extras, rules, strict=True):
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
    return extras, rules


def _siblings(
    snapshot: HostSnapshot, groups: Iterable[Group], wanted: Set[Address]
) -> tuple[list[Device], list[Device]]:
    """The endpoints of the groups that nobody wants. First those of groups that are handed out;
    then those of groups that only a quirk brings along, whose fds are not: they are parked."""
    reached: list[Device] = []
    parked: list[Device] = []
    for group in groups:
        found = parked if wanted.isdisjoint(group.members) else reached
        found += (
            member
            for member in snapshot.members(group.number)
            if not member.is_bridge and member.address not in wanted
        )
    return reached, parked


def _allowed(policy: Policy, peer: Peer, devices: Iterable[Device]) -> Iterator[Allowed]:
    for device in devices:
        rule = first_match(policy, peer, device)
        if rule is not None and rule.allow:
            yield device, rule


def _judge_sets(
    sets: ResetSets,
    request: Acquire,
    requested: Sequence[Device],
    siblings: Sequence[Allowed],
    groups: Sequence[Group],
) -> None:
    """What a sibling's rule grants as a whole reset set only is not reached with less. The set is
    not pulled in, since nobody asked for the sibling: who asks for it gets it."""
    for sibling, rule in siblings:
        if rule.terms.reset != "whole-set":
            continue
        whole = all(within(sets, device, groups) for device in (*requested, sibling))
        if request.reset == "if-owned" or not whole:
            raise RefusedError(
                Reason.terms,
                f"{sibling.address.short} shares the group, and rule {rule.name} grants whole "
                "reset sets only",
                hint=f"ask for {sibling.address.short} as well",
                devices=[str(sibling.address)],
                rule=rule.name,
                term="reset",
            )


def _judge_memlock(request: Acquire, rules: Sequence[Rule]) -> None:
    strictest = min(rules, key=lambda rule: rule.terms.memlock or 0)
    if request.memlock is not None and request.memlock > (strictest.terms.memlock or 0):
        raise RefusedError(
            Reason.terms,
            f"memlock of {request.memlock} bytes is more than the rule {strictest.name} allows",
            term="memlock",
        )


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


def judge_added(
    policy: Policy, peer: Peer, device: Device, lease: Lease, hand_over: HandOver
) -> None:
    """Decide about a device that was added to a leased group, as about a sibling at the grant.
    ``hand_over`` is how its group was handed over. Raises RefusedError.

    The lease keeps its terms. So where the device needs an allow, of the terms of its rule those
    have to be met already that say how it is reached, and what is done to it afterwards.
    """
    _judge_sibling(policy, peer, device, hand_over)
    rule = first_match(policy, peer, device)
    if rule is not None and hand_over != "iommufd":
        for term, met in (
            ("hand_over", hand_over in rule.terms.hand_over),
            ("anchor", lease.anchor in rule.terms.anchor),
            ("scrub", stricter_scrub(rule.terms, lease.terms) == lease.terms.scrub),
        ):
            if not met:
                raise RefusedError(
                    Reason.terms,
                    f"{device.address.short} joins the group, and rule {rule.name} sets another "
                    f"{term} than the lease has",
                    devices=[str(device.address)],
                    rule=rule.name,
                    term=term,
                )
    if must_be_taken(device, is_handed=False):
        judge_driver(policy, rule, device, lease.terms)


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


def _hand_over(
    request: Acquire, terms: Terms, offered: Iterable[HandOver], siblings: Sequence[Allowed]
) -> HandOver:
    """The wish, or the first that is allowed and that the kernel offers. ``siblings`` would be
    reached by any but ``iommufd``."""
    allowed = [
        h
        for h in terms.hand_over
        if h == "iommufd" or all(h in rule.terms.hand_over for _, rule in siblings)
    ]
    if not allowed:
        raise RefusedError(
            Reason.terms_conflict,
            "the rules of these devices and of their siblings allow no common hand_over",
            hint=_ALONG,
            term="hand_over",
        )
    possible = [h for h in allowed if h in set(offered)]
    wish = request.hand_over
    if wish is None:
        if not possible:
            raise RefusedError(
                Reason.unsupported, "this kernel offers no hand-over that the rule allows"
            )
        return possible[0]
    if wish not in allowed:
        message = f"the rule does not allow the hand-over {wish}"
        for sibling, rule in siblings if wish in terms.hand_over else ():
            if wish not in rule.terms.hand_over:
                name = sibling.address.short
                message = f"{wish} would reach {name}, which rule {rule.name} does not allow"
                break
        raise RefusedError(
            Reason.terms,
            message,
            hint=f"ask for {' or '.join(allowed)}",
            term="hand_over",
        )
    if wish not in possible:
        raise RefusedError(Reason.unsupported, f"this kernel does not offer {wish}")
    return wish
