"""The blocking client against a daemon that behaves, and against some that do not."""

from __future__ import annotations

import json
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from isod.client.blocking import Client
from isod.client.errors import CallError, ClientError, ConnectionLost, ProtocolError, Refused
from isod.client.files import CLOSED
from isod.client.location import SOCKET, socket_path
from isod.model.address import Address
from isod.model.reason import Reason, Refusal
from isod.model.request import WantedDevice
from isod.wire import jsonrpc, packet
from tests.unit.wire.open_files import leads_to, open_fds

from .fake_daemon import DEVICES, SECRET, FakeDaemon, in_a_thread, listening, serving, socket_pair

NIC, DISK = Address.pci("0000:01:00.0"), Address.pci("0000:02:00.0")


@pytest.fixture(autouse=True)
def no_fd_is_left() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() == before


@contextmanager
def room_for_fds(count: int) -> Iterator[None]:
    """Let this process open so many fds and no more."""
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def isod(daemon: FakeDaemon) -> Iterator[Client]:
    with serving(daemon) as sock, Client(sock) as client:
        client.hello()
        yield client


def test_connects_by_path_and_says_hello(daemon: FakeDaemon, tmp_path: Path) -> None:
    path = tmp_path / "isod.sock"
    with listening(daemon, path), Client.connect(path, name="myvmm/1.2") as isod:
        assert isod.greeting.you.uid == 1000
    assert daemon.asked[0].params == {"client": "myvmm/1.2", "protocol": 1}


def test_the_environment_names_the_socket(
    daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISOD_SOCKET", raising=False)
    assert socket_path() == Path(SOCKET)
    path = tmp_path / "isod.sock"
    monkeypatch.setenv("ISOD_SOCKET", str(path))
    assert socket_path("/other") == Path("/other")
    with listening(daemon, path), Client.connect(timeout=10) as isod:
        assert isod.info().kernel == "6.18"


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match="isod is not running"):
        Client.connect(tmp_path / "nothing.sock")
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with stream:
        stream.bind(str(tmp_path / "stream.sock"))
        with pytest.raises(ConnectionLost, match="cannot connect"):
            Client.connect(tmp_path / "stream.sock")


def test_hello_comes_first(daemon: FakeDaemon) -> None:
    with serving(daemon) as sock, Client(sock) as isod, pytest.raises(ClientError, match="hello"):
        assert isod.greeting


def test_lists_come_whole(isod: Client, daemon: FakeDaemon) -> None:
    assert [device.address for device in isod.devices()] == [one.address for one in DEVICES]
    assert [group.number for group in isod.groups()] == [12, 13]
    assert isod.leases() == ()
    assert [one.method for one in daemon.asked].count("host.devices") == 2


def test_a_listing_starts_again_when_the_host_has_changed(isod: Client, daemon: FakeDaemon) -> None:
    daemon.expire = 2
    assert len(isod.devices()) == 3
    daemon.expire = 4
    with pytest.raises(Refused) as caught:
        isod.devices()
    assert caught.value.reason is Reason.expired


def test_pages_get_shorter_until_they_fit_a_packet(isod: Client, daemon: FakeDaemon) -> None:
    daemon.most = 30
    assert len(isod.devices()) == 3
    limits = [one.params.get("limit", 100) for one in daemon.asked if one.method == "host.devices"]
    assert limits == [100, 50, 25, 25]
    daemon.most = 0
    with pytest.raises(CallError, match="too long"):
        isod.devices()


def test_acquires_for_iommufd(isod: Client, daemon: FakeDaemon) -> None:
    with isod.acquire(["01:00.0", DISK], hand_over="iommufd", key="vm7") as lease:
        assert lease.id == "L1"
        assert lease.secret == SECRET
        assert lease.warnings == ("a warning",)
        assert [str(one.address) for one in lease.info.devices if one.parked] == [
            "pci:0000:01:00.1"
        ]
        assert leads_to(lease.files.iommufd) == "/memfd:iommufd (deleted)"
        assert leads_to(lease.files.device(NIC)) == "/memfd:pci:0000:01:00.0 (deleted)"
        assert leads_to(lease.files.device(DISK)) == "/memfd:pci:0000:02:00.0 (deleted)"
        assert isod.leases() == (lease.info,)
        assert isod.lease("L1") == lease.info
        assert daemon.hold_is_there("L1")
    assert lease.files.hold == CLOSED
    assert daemon.hold_is_gone("L1")


def test_asks_what_isolation_is_worth(isod: Client) -> None:
    assert isod.isolation("01:00.0").unread == (Address.parse("01:00.0"),)
    with pytest.raises(Refused):
        isod.isolation("99:00.0")


def test_asks_what_a_hot_reset_hits(isod: Client) -> None:
    assert isod.reset_set("01:00.0").reset.bind_groups == (12,)
    assert isod.reset_set(DISK).address == DISK
    with pytest.raises(Refused):
        isod.reset_set("99:00.0")


def test_acquires_groups(isod: Client) -> None:
    wanted = WantedDevice(address=NIC, generation=100)
    with isod.acquire([wanted], hand_over="group", container="raw", memlock=4096) as lease:
        assert leads_to(lease.files.container) == "/memfd:container (deleted)"
        assert leads_to(lease.files.groups[12]) == "/memfd:12 (deleted)"
        assert lease.files.iommufd == CLOSED


def test_what_stands_at_its_default_is_not_sent(isod: Client, daemon: FakeDaemon) -> None:
    with isod.acquire([NIC]):
        assert daemon.asked[-1].params == {"devices": [{"address": str(NIC)}]}


@pytest.mark.parametrize("wanted", [["nonsense"], [], ["../01:00.0"]])
def test_what_is_no_request_is_not_sent(
    isod: Client, daemon: FakeDaemon, wanted: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"address|at least 1"):
        isod.acquire(wanted)
    with pytest.raises(ValidationError):
        isod.acquire([NIC], hand_over="telepathy")  # type: ignore[arg-type]
    assert [one.method for one in daemon.asked] == ["hello"]


def test_a_refusal_and_then_business_as_usual(isod: Client) -> None:
    with isod.acquire([NIC]):
        with pytest.raises(Refused) as caught:
            isod.acquire(["01:00.1"])
        assert caught.value.reason is Reason.group_busy
        assert caught.value.data["devices"] == ["pci:0000:01:00.1"]
        assert isod.info().leases == 1


def test_releases(isod: Client, daemon: FakeDaemon) -> None:
    lease = isod.acquire([NIC])
    with pytest.raises(Refused) as caught:
        isod.release(lease.id, "guessed")
    assert caught.value.reason is Reason.not_yours
    assert lease.files.hold != CLOSED
    assert lease.release().state == "draining"
    assert lease.info.state == "draining"
    assert lease.files.hold == CLOSED
    assert daemon.hold_is_gone(lease.id)


def test_opens_again_and_never_lets_go_of_the_hold(isod: Client, daemon: FakeDaemon) -> None:
    with isod.acquire([NIC]) as lease:
        former = lease.files
        fresh = lease.open()
        assert fresh is lease.files
        assert former.iommufd == former.hold == CLOSED
        assert fresh.hold != CLOSED
        assert leads_to(fresh.iommufd) == "/memfd:iommufd (deleted)"
        assert lease.secret == SECRET
        assert daemon.hold_is_there("L1")
    assert daemon.hold_is_gone("L1")


def test_a_lease_whose_opening_is_refused_keeps_its_hold(isod: Client, daemon: FakeDaemon) -> None:
    with isod.acquire([NIC]) as lease:
        known = daemon.leases.pop("L1")
        with pytest.raises(Refused):
            lease.open()
        assert lease.files.hold != CLOSED
        daemon.leases["L1"] = known
        assert lease.open().iommufd != CLOSED


def test_another_connection_opens_by_secret(isod: Client) -> None:
    with isod.acquire([NIC]) as lease, isod.open("L1", SECRET) as other:
        assert other.files.hold not in (CLOSED, lease.files.hold)
        assert other.secret == SECRET
        assert other.files.iommufd != lease.files.iommufd
        assert isod.release(other.id, other.secret).id == lease.id


def test_raw_calls(isod: Client, daemon: FakeDaemon) -> None:
    assert isod.call("rpc.discover") == {"openrpc": "1.3.2"}
    result = isod.call("lease.acquire", {"devices": [{"address": "pci:0000:01:00.0"}]})
    assert isinstance(result, dict)
    assert [one["role"] for one in result["fds"]] == ["hold", "iommufd", "device"]
    assert daemon.hold_is_gone("L1")
    with pytest.raises(CallError, match="Method not found"):
        isod.call("no.such")
    with pytest.raises(CallError, match="Invalid params"):
        isod.call("lease.get", {"leese": 1})


def test_the_daemon_leaves(isod: Client, daemon: FakeDaemon) -> None:
    with isod.acquire([NIC]) as lease:
        daemon.farewell = jsonrpc.refusal(None, Refusal(Reason.stopping, "isod is stopping", {}))
        with pytest.raises(Refused, match="stopping"):
            isod.info()
        assert leads_to(lease.files.iommufd)
        with pytest.raises(ConnectionLost):
            isod.info()


def test_the_connection_breaks_in_the_middle_of_a_call() -> None:
    with socket_pair() as (ours, theirs), Client(ours) as isod:

        def leave() -> None:
            packet.receive_plain(theirs)
            theirs.close()

        with in_a_thread(leave), pytest.raises(ConnectionLost, match="closed the connection"):
            isod.hello()
        with pytest.raises(ConnectionLost):
            isod.next_event()


def test_why_the_daemon_left_is_read_though_our_call_came_too_late() -> None:
    with socket_pair() as (ours, theirs), Client(ours) as isod:
        packet.send(theirs, jsonrpc.refusal(None, Refusal(Reason.quota, "too many", {})))
        theirs.close()
        with pytest.raises(Refused, match="too many"):
            isod.hello()


def _answer_once(theirs: socket.socket, result: object, fds: int) -> None:
    """Answer whatever is asked by one result."""
    data = packet.receive_plain(theirs)
    assert data is not None
    written = jsonrpc.result(json.loads(data)["id"], result)
    packet.send(theirs, written, [0] * fds)


@pytest.mark.parametrize(
    ("result", "fds", "said"),
    [
        ({"fds": [{"role": "hold"}]}, 1, "no AcquireResult: lease"),
        ({"fds": [{"role": "soul"}, {}]}, 2, "no AcquireResult"),
        ({"fds": []}, 3, "0 fds declared, 3 received"),
        ({"fds": [{"role": "hold"}]}, 0, "1 fds declared, 0 received"),
        (None, 2, "0 fds declared, 2 received"),
        ([], 0, "no AcquireResult"),
    ],
)
def test_results_that_make_no_sense_leave_no_fd(result: object, fds: int, said: str) -> None:
    with (
        socket_pair() as (ours, theirs),
        Client(ours) as isod,
        in_a_thread(_answer_once, theirs, result, fds),
        pytest.raises(ProtocolError, match=said),
    ):
        isod.acquire([NIC])


def test_fds_with_a_reply_that_should_have_none_are_closed() -> None:
    result = {"lease": None, "fds": [{"role": "hold"}]}
    with (
        socket_pair() as (ours, theirs),
        Client(ours) as isod,
        in_a_thread(_answer_once, theirs, result, 1),
        pytest.raises(ProtocolError, match="no LeaseResult"),
    ):
        isod.lease("L1")


def test_a_daemon_of_another_protocol() -> None:
    greeting = {
        "protocol": 2,
        "server": "isod 9",
        "features": [],
        "you": {"uid": 0},
        "limits": {"packet": 1, "fds": 1},
    }
    with (
        socket_pair() as (ours, theirs),
        Client(ours) as isod,
        in_a_thread(_answer_once, theirs, greeting, 0),
        pytest.raises(ProtocolError, match="protocol 2"),
    ):
        isod.hello()


def test_too_few_fds_left_is_an_error_without_a_leak() -> None:
    roles = [{"role": "hold"}, {"role": "iommufd"}, {"role": "device"}]
    with socket_pair() as (ours, theirs), Client(ours) as isod:
        read_end, write_end = os.pipe()
        packet.send(theirs, jsonrpc.result(1, {"fds": roles}), [write_end] * 3)
        os.close(write_end)
        with room_for_fds(2), pytest.raises(ProtocolError, match=r"only 2 of .* RLIMIT_NOFILE"):
            isod.acquire([NIC])
        # No copy is left, not even in the socket: a daemon would see the hold go.
        assert os.read(read_end, 1) == b""
        os.close(read_end)
        with pytest.raises(ConnectionLost):
            isod.info()


def test_a_reply_that_comes_after_its_timeout_is_closed() -> None:
    with socket_pair() as (ours, theirs), Client(ours) as isod:
        ours.settimeout(0.01)
        with pytest.raises(TimeoutError):
            isod.acquire([NIC])
        data = packet.receive_plain(theirs)
        assert data is not None
        read_end, write_end = os.pipe()
        late = jsonrpc.result(json.loads(data)["id"], {"fds": [{"role": "hold"}]})
        packet.send(theirs, late, [write_end])
        os.close(write_end)
        ours.settimeout(None)
        with in_a_thread(_answer_once, theirs, 7, 0):
            assert isod.call("rpc.discover") == 7
        assert os.read(read_end, 1) == b""
        os.close(read_end)


def test_events_between_replies() -> None:
    with socket_pair() as (ours, theirs), Client(ours) as isod:
        packet.send(theirs, jsonrpc.notification("event", {"seq": 1}))
        with in_a_thread(_answer_once, theirs, 7, 0):
            assert isod.call("events.subscribe", {"kinds": ["lease"]}) == 7
        packet.send(theirs, jsonrpc.notification("event", {"seq": 2}))
        assert isod.next_event() == {"seq": 1}
        assert isod.next_event() == {"seq": 2}


def test_a_lease_without_a_secret_says_so(isod: Client, daemon: FakeDaemon) -> None:
    with isod.acquire([NIC]) as lease:
        daemon.leases["L1"] = lease.info.model_copy(update={"secret": None})
        with isod.open("L1", SECRET) as other:
            assert other.secret == SECRET
        lease._secret = None
        with pytest.raises(ClientError, match="not known"):
            lease.release()
        assert "L1 leased" in repr(lease)
