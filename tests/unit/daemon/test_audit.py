"""Refusals are on record, and a flood of them does not fill it."""

from __future__ import annotations

from dataclasses import replace

from isod.daemon.audit import RECORDS, SECONDS, Audit
from isod.daemon.identify import Identity
from isod.model.method import METHODS
from isod.model.peer import Peer
from isod.model.reason import Reason, Refusal
from isod.model.request import RevokeLease, SetQuarantine

ACQUIRE, EXPLAIN = METHODS["lease.acquire"], METHODS["lease.explain"]
NO = Refusal(Reason.denied, "not for you", {"devices": ["pci:0000:01:00.0"], "rule": "hands-off"})


class Book:
    """A journal that is a list."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, dict[str, str | int]]] = []

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        self.records.append((kind, message, fields))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def peer(uid: int) -> Identity:
    return Identity(Peer(uid=uid, gid=uid, groups=frozenset(), pid=42, unit="fwd.service"))


def test_who_was_refused_what_and_why() -> None:
    book = Book()
    Audit(book, Clock()).refused(peer(1000), ACQUIRE, NO)
    [(kind, message, fields)] = book.records
    assert kind == "lease.refused"
    assert message == "lease.acquire of uid 1000 refused: not for you"
    assert fields == {
        "reason": "denied",
        "method": "lease.acquire",
        "uid": 1000,
        "pid": 42,
        "unit": "fwd.service",
        "rule": "hands-off",
        "devices": "pci:0000:01:00.0",
    }


def test_looking_is_not_recorded() -> None:
    book = Book()
    Audit(book, Clock()).refused(peer(1000), EXPLAIN, NO)
    assert book.records == []


def test_who_tried_what_is_an_administrators_is_recorded() -> None:
    book = Book()
    audit = Audit(book, Clock())
    audit.refused(peer(1000), METHODS["admin.leases"], NO)
    audit.refused(peer(1000), METHODS["quarantine.clear"], NO)
    outsider = peer(1001)
    turned_away = Identity(replace(outsider.peer, admin=True))
    audit.refused(turned_away, METHODS["hello"], NO)
    audit.refused(turned_away, METHODS["host.reset_set"], Refusal(Reason.not_found, "none", {}))
    assert [(kind, fields["method"], fields["uid"]) for kind, _, fields in book.records] == [
        ("lease.refused", "admin.leases", 1000),
        ("lease.refused", "quarantine.clear", 1000),
        ("lease.refused", "hello", 1001),
    ]


def test_an_administrator_is_named_with_what_was_asked() -> None:
    book = Book()
    audit = Audit(book, Clock())
    revoke, setting = METHODS["admin.revoke"], METHODS["quarantine.set"]
    audit.asked(peer(0), revoke, RevokeLease(lease="L7", now=True))
    audit.asked(
        peer(0), setting, SetQuarantine.model_validate({"address": "01:00.0", "why": "dust"})
    )
    audit.signalled(METHODS["admin.reload"])
    who = {"admin_uid": 0, "admin_pid": 42, "unit": "fwd.service"}
    assert book.records == [
        (
            "admin.asked",
            "admin.revoke by uid 0 (pid 42, fwd.service): lease L7, now True",
            {"method": "admin.revoke", **who, "lease": "L7"},
        ),
        (
            "admin.asked",
            "quarantine.set by uid 0 (pid 42, fwd.service): address pci:0000:01:00.0, why dust",
            {"method": "quarantine.set", **who, "devices": "pci:0000:01:00.0"},
        ),
        (
            "admin.asked",
            "admin.reload by a signal",
            {"method": "admin.reload", "admin_uid": 0, "by": "signal"},
        ),
    ]


def test_a_flood_is_counted_and_not_written_down() -> None:
    book, clock = Book(), Clock()
    audit = Audit(book, clock)
    for _ in range(RECORDS + 500):
        audit.refused(peer(1000), ACQUIRE, NO)
    audit.refused(peer(1001), ACQUIRE, NO)
    assert len(book.records) == RECORDS + 1  # the other user is heard
    clock.now += SECONDS
    audit.refused(peer(1000), ACQUIRE, NO)
    messages = [message for _, message, _ in book.records]
    assert messages[-2] == "500 more refusals of uid 1000 were not recorded"
    assert len(messages) == RECORDS + 3


def test_users_that_came_once_are_forgotten() -> None:
    book, clock = Book(), Clock()
    audit = Audit(book, clock)
    for uid in range(3000):
        audit.refused(peer(uid), ACQUIRE, NO)
        clock.now += 1.0
    assert len(audit._of) <= 1024 + SECONDS
