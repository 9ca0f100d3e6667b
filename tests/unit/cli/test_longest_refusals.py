"""The longest refusals of the guard, of pools and of reset domains, as people see them: eight
members with long addresses, each with two uses. At most five lines, and who can fix it and how in
full."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isod.cli.screen.refusal import refusal_screen
from isod.cli.screen.terminal import WIDTH, render
from isod.core.consider import Bench, consider_in
from isod.core.domain import Domains, check_domain
from isod.core.guard import check_guard
from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.core.reset_set import ResetSets
from isod.model.critical import CriticalFacts, CriticalUse
from isod.model.event import Granted
from isod.model.host import HostSnapshot
from isod.model.policy import Policy, Pool
from isod.model.reason import Refusal, RefusedError
from isod.model.request import Acquire, WantedPool
from isod.model.terms import Terms, What
from isod.wire import jsonrpc
from tests.unit.core.build import ALICE, BOB, allow, at, device, host, lease_for

CARDS = [f"10000:e1:00.{n}" for n in range(8)]
USES = (
    CriticalUse("display", "shows the console (tty0 on framebuffer fb0 of the efi firmware)"),
    CriticalUse(
        "another namespace",
        "has a network interface in another namespace (enP65536p225s0f0np0 on bond0 on br0)",
    ),
)
FACTS = CriticalFacts({at(card): USES for card in CARDS})
ONE_GROUP = host(*(device(card, 12) for card in CARDS))
POOL = "graphics-cards-of-the-third-row-that-have-80-gigabytes-of-memory"


def of_the_guard() -> None:
    groups = Isolation(ONE_GROUP).groups_of([at(CARDS[0])])
    check_guard(ResetSets(ONE_GROUP), FACTS, [ONE_GROUP.devices[at(CARDS[0])]], groups, Terms())


def of_a_pool() -> None:
    pools = {POOL: Pool(POOL, (What(vendor="8086"),))}
    bench = Bench(Policy((allow(),), 1, pools=pools), ResetSets(ONE_GROUP), Ledger(), FACTS)
    consider_in(bench, ALICE, Acquire(devices=(WantedPool(pool=POOL, count=8),)))


def _with_virtual_functions() -> HostSnapshot:
    card, *functions = CARDS
    virtual = tuple(map(at, functions))
    return host(
        device(card, 12, virtual_functions=virtual),
        *(device(name, 13, physical_function=at(card)) for name in functions),
    )


def of_a_domain() -> None:
    snapshot = _with_virtual_functions()
    ledger = Ledger()
    ledger.apply(Granted(lease_for(snapshot, "L1", [at(CARDS[1])], None, 8)))
    groups = Isolation(snapshot).groups_of([at(CARDS[0])])
    check_domain(Domains(ResetSets(snapshot)), ledger, BOB, groups)


def of_a_pool_in_a_domain() -> None:
    pools = {POOL: Pool(POOL, (What(address=f"pci:{CARDS[0]}", exact=True),))}
    sets = ResetSets(_with_virtual_functions())
    bench = Bench(Policy((allow(),), 1, pools=pools), sets, Ledger(), CriticalFacts())
    consider_in(bench, ALICE, Acquire(devices=(WantedPool(pool=POOL),)))


@pytest.mark.parametrize("note", ["", "Nothing was changed."])
@pytest.mark.parametrize("ask", [of_the_guard, of_a_pool, of_a_domain, of_a_pool_in_a_domain])
def test_the_longest_refusals_say_in_five_lines_who_can_fix_them_and_how(
    ask: Callable[[], None], note: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        ask()
    refusal = caught.value.refusal
    lines = _shown(refusal, note)
    assert len(lines) <= 5
    assert max(map(len, lines)) <= WIDTH
    remedy = " ".join(" ".join(lines).split()).partition("Who can fix it: ")[2]
    hint = refusal.hint or refusal.reason.hint
    how = hint[:1].upper() + hint[1:]
    assert remedy == f"{refusal.fixed_by or refusal.reason.fixed_by}. {how}"


def _shown(refusal: Refusal, note: str) -> list[str]:
    said = jsonrpc.refusal_object(refusal)
    data = said["data"]
    assert isinstance(data, dict)
    return render(refusal_screen(str(said["message"]), data, 0.0, note=note)).splitlines()
