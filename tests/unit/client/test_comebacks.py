"""Both clients when isod ends in the middle of a call and comes back: what is asked again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isod.client.errors import ClientError, ConnectionLost, ProtocolError, Refused
from isod.client.files import CLOSED
from isod.model.reason import Reason, Refusal
from isod.wire import jsonrpc
from tests.unit.wire.open_files import open_fds

from .comebacks import ComesBack, coming_back
from .either_kind import KINDS, connected, done, until_it_hangs_up
from .fake_daemon import SECRET

NIC, DISK = "0000:01:00.0", "0000:02:00.0"

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def no_fd_is_left() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("host.info", lambda isod: isod.info()),
        ("host.devices", lambda isod: isod.devices()),
        ("host.isolation", lambda isod: isod.isolation(NIC)),
        ("lease.list", lambda isod: isod.leases()),
        ("hello", lambda isod: isod.hello()),
        ("rpc.discover", lambda isod: isod.call("rpc.discover")),
    ],
)
async def test_who_only_looks_does_not_notice(
    kind: str, tmp_path: Path, when: str, method: str, call: Callable[[Any], Any]
) -> None:
    losses: list[ConnectionLost] = []
    daemon = ComesBack()
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path, name="vmm/1", on_lost=losses.append) as isod:
            before = await done(call(isod))
            daemon.ends = [f"{when} {method}"]
            assert await done(call(isod)) == before
    assert daemon.lives == 2
    assert len(losses) == 1
    greetings = [one.params["client"] for one in daemon.asked_for("hello")]
    assert greetings.count("vmm/1") == 2, "hello comes first on each connection"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_acquire_with_a_key_gives_a_lease_with_files(
    kind: str, tmp_path: Path, when: str
) -> None:
    daemon = ComesBack(f"{when} lease.acquire")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with await done(isod.acquire([NIC], key="vm7")) as lease:
                assert lease.files.device(NIC) != CLOSED
                assert lease.secret == SECRET
                assert not os.get_inheritable(lease.files.hold)
                assert daemon.hold_is_there(lease.id)
            assert daemon.hold_is_gone(lease.id)


async def test_a_lease_that_stood_without_a_hold_gives_its_files_again(
    kind: str, tmp_path: Path
) -> None:
    daemon = ComesBack("after lease.acquire")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with await done(isod.acquire([NIC], key="vm7", anchor="explicit")) as lease:
                assert lease.id == "L1"
                assert lease.secret == SECRET
                assert lease.files.device(NIC) != CLOSED
    assert [one.method for one in daemon.asked][-2:] == ["lease.acquire", "lease.open"]


async def test_a_lease_whose_files_somebody_has_comes_without(kind: str, tmp_path: Path) -> None:
    """As from any acquire with a key that is known."""
    daemon = ComesBack()
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with await done(isod.acquire([NIC], key="vm7")) as first:
                daemon.in_use = True
                daemon.ends = ["before lease.acquire"]
                second = await done(isod.acquire([NIC], key="vm7"))
                assert second.id == first.id
                assert len(second.files) == 0


async def test_a_lost_lease_that_still_ends_is_waited_for(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack("after lease.acquire")
    daemon.drains = True
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with await done(isod.acquire([NIC], key="vm7")) as lease:
                assert lease.files.device(NIC) != CLOSED
    waits: list[Any] = [one.params.get("wait", 0) for one in daemon.asked_for("lease.acquire")]
    assert waits[:2] == [0, 0]
    assert waits[2] > 0


async def test_somebody_elses_lease_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack()
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with await done(isod.acquire([NIC], key="theirs")):
                daemon.ends = ["before lease.acquire"]
                with pytest.raises(Refused) as refused:
                    await done(isod.acquire([NIC], key="mine"))
    assert refused.value.reason is Reason.group_busy
    assert len(daemon.asked_for("lease.acquire")) == 3


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_acquire_without_a_key_is_not_asked_twice(
    kind: str, tmp_path: Path, when: str
) -> None:
    daemon = ComesBack(f"{when} lease.acquire")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with pytest.raises(ConnectionLost, match=r"not known.*key") as lost:
                await done(isod.acquire([DISK]))
            assert lost.value.unknown
            # The client is of use all the same.
            assert (await done(isod.info())).kernel
    assert len(daemon.asked_for("lease.acquire")) == 1


@pytest.mark.parametrize("method", ["admin.revoke", "admin.reload", "quarantine.set", "no.such"])
async def test_what_an_administrator_changes_is_not_asked_twice(
    kind: str, tmp_path: Path, method: str
) -> None:
    daemon = ComesBack(f"before {method}")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with pytest.raises(ConnectionLost, match=f"whether {method} took effect"):
                await done(isod.call(method))
    assert len(daemon.asked_for(method)) == 1


async def test_what_was_not_sent_is_sent_again_whatever_it_is(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack("then host.info")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            await done(isod.info())
            until_it_hangs_up(isod)
            with await done(isod.acquire([NIC])) as lease:
                assert lease.files.hold != CLOSED
    assert daemon.lives == 2


async def test_a_daemon_that_is_stopping_is_asked_when_it_is_back(
    kind: str, tmp_path: Path
) -> None:
    """It has done nothing: it is asked again, without a key too. A wait is what is left of it."""
    daemon = ComesBack("refuse lease.acquire")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with await done(isod.acquire([NIC], wait=600)) as lease:
                assert lease.files.hold != CLOSED
    waits: list[Any] = [one.params["wait"] for one in daemon.asked_for("lease.acquire")]
    assert 500 < waits[1] < waits[0] == 600


@pytest.mark.parametrize("when", ["before", "after"])
async def test_leases_stay_valid(kind: str, tmp_path: Path, when: str) -> None:
    daemon = ComesBack()
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            lease = await done(isod.acquire([NIC], anchor="explicit"))
            daemon.ends = [f"{when} lease.open", f"{when} lease.release"]
            await done(lease.open())
            assert lease.files.device(NIC) != CLOSED
            assert (await done(lease.release())).state == "draining"
            assert lease.files.hold == CLOSED
    assert daemon.lives == 3


async def test_a_lease_that_the_lost_release_ended_is_released(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack("after lease.release")
    daemon.forgets = True
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            lease = await done(isod.acquire([NIC]))
            assert (await done(lease.release())).state == "draining"
            assert lease.files.hold == CLOSED
            again = await done(isod.acquire([DISK]))
            again.close()
            daemon.ends = ["after lease.release"]
            with pytest.raises(Refused) as refused:
                await done(isod.release(again.id, again.secret))
    assert (refused.value.reason, refused.value.repeated) == (Reason.not_found, True)


# --- the daemon does not come back, or as another ------------------------------------------------


async def test_a_daemon_that_does_not_come_back(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack("before host.info")
    daemon.forever = True
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path, reconnect=0.2) as isod:
            with pytest.raises(ConnectionLost, match=r"did not come back within 0\.2 seconds"):
                await done(isod.info())
            # Asked anew, it looks anew.
            with pytest.raises(ConnectionLost, match="did not come back"):
                await done(isod.info())


async def test_who_does_not_want_to_connect_again(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack("before host.info")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path, reconnect=0) as isod:
            for _ in range(2):
                with pytest.raises(ConnectionLost):
                    await done(isod.info())
    assert daemon.lives == 1


async def test_a_client_that_was_closed_stays_closed(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack()
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            isod.close()
            with pytest.raises(ConnectionLost, match="closed here"):
                await done(isod.info())
    assert daemon.lives == 1


def _another_protocol() -> bytes:
    greeting = {
        "protocol": 2,
        "server": "isod 9",
        "features": [],
        "you": {"uid": 0},
        "limits": {"packet": 1, "fds": 1},
    }
    return jsonrpc.result(2, greeting)


def _no_place() -> bytes:
    return jsonrpc.refusal(None, Refusal(Reason.quota, "too many connections", {}))


@pytest.mark.parametrize(
    ("greeting", "error", "said"),
    [
        (_no_place, Refused, "too many connections"),
        (lambda: jsonrpc.refusal(1, Refusal(Reason.denied, "not you", {})), Refused, "not you"),
        (lambda: _another_protocol().replace(b'"id":2', b'"id":1'), ProtocolError, "protocol 2"),
    ],
)
async def test_a_daemon_that_comes_back_and_does_not_want_us(
    kind: str,
    tmp_path: Path,
    greeting: Callable[[], bytes],
    error: type[ClientError],
    said: str,
) -> None:
    daemon = ComesBack("before host.info")
    daemon.greeting = greeting
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with pytest.raises(error, match=said):
                await done(isod.info())
            assert daemon.lives == 2
            daemon.greeting = lambda: None
            assert (await done(isod.info())).kernel


async def test_a_connection_that_is_ended_with_a_reason_is_not_made_again(
    kind: str, tmp_path: Path
) -> None:
    daemon = ComesBack()
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            daemon.farewell = jsonrpc.refusal(None, Refusal(Reason.quota, "unread fds", {}))
            with pytest.raises(Refused, match="unread fds"):
                await done(isod.info())
            with pytest.raises(ConnectionLost, match="has ended: unread fds"):
                await done(isod.info())


async def test_a_call_that_ends_the_daemon_each_time_is_not_asked_for_ever(
    kind: str, tmp_path: Path
) -> None:
    daemon = ComesBack(*["before host.info"] * 20)
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod:
            with pytest.raises(ConnectionLost, match=r"5 times while host\.info was asked"):
                await done(isod.info())
    assert len(daemon.asked_for("host.info")) == 5
