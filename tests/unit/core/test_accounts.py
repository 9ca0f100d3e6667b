"""The book: what is over a line is refused with the reason, and what is given back is free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.core.accounts import Account, Accounts, Resource
from isod.model.policy import Limits
from isod.model.reason import Reason, RefusedError

LIMITS = Limits(
    connections=4,
    connections_per_uid=3,
    requests=2,
    requests_per_uid=3,
    bytes=100,
    bytes_per_uid=150,
    unread_fds=10,
    unread_fds_per_uid=15,
    waits_per_uid=2,
    subscriptions_per_connection=1,
    subscriptions_per_uid=2,
)
ALICE, BOB = 1000, 1001


@pytest.fixture
def book() -> Accounts:
    return Accounts(lambda: LIMITS)


def refusal(account: Account, resource: Resource, amount: int = 1) -> str:
    with pytest.raises(RefusedError) as refused:
        account.charge(resource, amount)
    assert refused.value.refusal.reason is Reason.quota
    assert refused.value.refusal.hint
    return refused.value.refusal.message


@pytest.mark.parametrize(
    ("resource", "amount", "connection", "user"),
    [
        (Resource.requests, 1, "this connection has 2 requests under way", "you have 3 requests"),
        (Resource.bytes, 50, "this connection has 100 bytes of requests", "you have 150 bytes of"),
        (
            Resource.unread_fds,
            5,
            "this connection has 10 file descriptors that wait to be read, the most that one "
            "connection may have",
            "you have 15 file descriptors that wait to be read, the most that one user may have",
        ),
        (Resource.subscriptions, 1, "this connection has 1 sub", "you have 2 subscriptions"),
    ],
)
def test_a_connection_and_its_user_have_so_much(
    book: Accounts, resource: Resource, amount: int, connection: str, user: str
) -> None:
    one, second, third = (book.open(ALICE) for _ in range(3))
    other = book.open(BOB)
    while one.refusal(resource, amount) is None:
        one.charge(resource, amount)
    assert refusal(one, resource, amount).startswith(connection)
    while second.refusal(resource, amount) is None:
        second.charge(resource, amount)
    assert refusal(third, resource, amount).startswith(user)
    other.charge(resource, amount)


def test_a_user_has_so_many_requests_that_wait(book: Accounts) -> None:
    one, second = book.open(ALICE), book.open(ALICE)
    one.charge(Resource.waits)
    second.charge(Resource.waits)
    assert refusal(one, Resource.waits) == (
        "you have 2 requests waiting for devices, the most that one user may have"
    )


def test_what_would_be_too_much_at_once_is_told_with_the_line(book: Accounts) -> None:
    account = book.open(ALICE)
    account.charge(Resource.unread_fds, 8)
    assert refusal(account, Resource.unread_fds, 5) == (
        "this connection has 8 file descriptors that wait to be read; 10 are the most that one "
        "connection may have"
    )
    assert account.has(Resource.unread_fds) == 8, "nothing was charged"


def test_a_new_limit_holds_at_once_and_takes_nothing_away() -> None:
    limits = LIMITS
    book = Accounts(lambda: limits)
    account = book.open(ALICE)
    account.charge(Resource.requests, 2)
    limits = Limits(requests=1)
    assert "this connection has 2 requests" in refusal(account, Resource.requests)
    limits = Limits(requests=3)
    account.charge(Resource.requests)


def test_what_a_connection_had_ends_with_it(book: Accounts) -> None:
    account = book.open(ALICE)
    for resource in (Resource.requests, Resource.bytes, Resource.subscriptions):
        account.charge(resource)
    account.close()
    account.close()
    assert all(book.of_uid(ALICE, resource) == 0 for resource in Resource)
    assert all(book.of_all(resource) == 0 for resource in Resource)


def test_a_cost_is_given_back_whatever_happens(book: Accounts) -> None:
    account = book.open(ALICE)
    with pytest.raises(KeyError), account.charged(Resource.requests):
        raise KeyError
    assert account.has(Resource.requests) == 0


def test_giving_back_more_than_was_had_is_a_mistake(book: Accounts) -> None:
    account = book.open(ALICE)
    with pytest.raises(ValueError, match="given back"):
        account.discharge(Resource.bytes, 1)


_ACTS = st.lists(
    st.tuples(
        st.sampled_from(["open", "close", "charge", "discharge"]),
        st.integers(0, 5),
        st.sampled_from(list(Resource)),
        st.integers(0, 60),
    ),
    max_size=60,
)


@given(_ACTS)
def test_the_book_is_the_sum_of_its_accounts_and_within_its_lines(
    acts: list[tuple[str, int, Resource, int]],
) -> None:
    book = Accounts(lambda: LIMITS)
    open_accounts: list[tuple[int, Account]] = []
    for act, which, resource, amount in acts:
        uid = ALICE + which % 2
        if act == "open":
            try:
                open_accounts.append((uid, book.open(uid)))
            except RefusedError:
                continue
        elif open_accounts:
            place = which % len(open_accounts)
            account = open_accounts[place][1]
            if act == "close":
                account.close()
                del open_accounts[place]
            elif act == "charge" and account.refusal(resource, amount) is None:
                account.charge(resource, amount)
            elif act == "discharge" and resource is not Resource.connections:
                account.discharge(resource, min(amount, account.has(resource)))
        for one in Resource:
            for uid in (ALICE, BOB):
                of_uid = sum(account.has(one) for owner, account in open_accounts if owner == uid)
                assert book.of_uid(uid, one) == of_uid
            assert book.of_all(one) == sum(account.has(one) for _, account in open_accounts)
        for uid in (ALICE, BOB):
            assert book.of_uid(uid, Resource.unread_fds) <= 15
            assert book.of_uid(uid, Resource.bytes) <= 150
            assert book.of_uid(uid, Resource.connections) <= 3


def test_the_last_eighth_of_the_connections_is_for_who_has_few() -> None:
    book = Accounts(lambda: Limits(connections=16, connections_per_uid=7))
    for user in (ALICE, BOB):
        for _ in range(7):
            book.open(user)
    carol = 1002
    first = book.open(carol)
    assert book.of_all(Resource.connections) == 15
    book.open(carol)
    with pytest.raises(RefusedError, match="there are 16 connections"):
        book.open(1003)
    first.close()
    with pytest.raises(RefusedError, match="you have 7"):
        book.open(ALICE)


def test_who_has_some_leaves_that_eighth_to_others() -> None:
    book = Accounts(lambda: Limits(connections=16, connections_per_uid=16))
    for _ in range(14):
        book.open(ALICE)
    with pytest.raises(RefusedError, match="there are 14 connections, the most that isod takes"):
        book.open(ALICE)
    assert [book.open(user) for user in (BOB, 1002)]
