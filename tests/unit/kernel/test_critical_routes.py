"""Routes as a real kernel tells them, in a network namespace of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isod.kernel.linux import critical_routes
from isod.kernel.linux.critical_routes import KernelRoutes

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None,
    reason="needs root and iproute2 for a network namespace",
)

_TELL = """
import json, sys
from pathlib import Path
from isod.kernel.linux.critical_network import Interfaces
from isod.kernel.linux.critical_routes import KernelRoutes
interfaces = Interfaces(Path("/"))
routes = KernelRoutes()
found = sorted(routes.default())
towards = {one: routes.towards(one) for one in sys.argv[1:]}
print(json.dumps({
    "default": [interfaces.named(index) for index in found],
    "ends": [sorted(interfaces.below(name)[1]) for name in map(interfaces.named, found) if name],
    "towards": {one: index and interfaces.named(index) for one, index in towards.items()},
}))
"""

_LINKS = """
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up
ip link set v1 up
ip address add 192.0.2.2/24 dev v0
"""


def told(commands: str, *servers: str) -> dict[str, Any]:
    """What isod reads after ``ip`` commands in a fresh namespace. Skips what a kernel lacks."""
    script = f'set -e\nmount -t sysfs sysfs /sys\n{_LINKS}{commands}\nexec "$@"'
    command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh"]
    run = subprocess.run(
        [*command, sys.executable, "-c", _TELL, *servers],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    if "Unknown device type" in run.stderr or "Operation not permitted" in run.stderr:
        pytest.skip(f"not on this machine: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def test_a_namespace_without_a_default_route() -> None:
    assert told("")["default"] == []


def test_a_default_route() -> None:
    assert told("ip route add default via 192.0.2.1")["default"] == ["v0"]


def test_a_default_route_in_another_table() -> None:
    assert told("ip route add default via 192.0.2.1 table 77")["default"] == ["v0"]


def test_a_default_route_in_two_halves() -> None:
    commands = "ip route add 0.0.0.0/1 dev v0; ip route add 128.0.0.0/1 dev v1"
    assert set(told(commands)["default"]) == {"v0", "v1"}


def test_a_default_route_over_two_ways() -> None:
    commands = """
        ip address add 198.51.100.2/24 dev v1
        ip route add default nexthop via 192.0.2.1 nexthop via 198.51.100.1
    """
    assert set(told(commands)["default"]) == {"v0", "v1"}


@pytest.mark.parametrize("compatible", ["0", "1"])
def test_a_default_route_over_a_nexthop_object(compatible: str) -> None:
    commands = f"""
        echo {compatible} > /proc/sys/net/ipv4/nexthop_compat_mode
        ip nexthop add id 5 via 192.0.2.1 dev v0
        ip nexthop add id 6 dev v1
        ip nexthop add id 7 group 5/6 2>/dev/null || ip nexthop add id 7 group 5
        ip route add default nhid 7
    """
    assert "v0" in told(commands)["default"]


def test_an_unreachable_default_is_no_way() -> None:
    assert (
        told("ip route add unreachable default; ip route add blackhole 0.0.0.0/1")["default"] == []
    )


def test_a_default_route_of_ipv6() -> None:
    if not Path("/proc/sys/net/ipv6").exists():
        pytest.skip("a kernel without IPv6")
    commands = "ip -6 route add default dev v1; ip -6 route add 2000::/3 dev v0"
    assert set(told(commands)["default"]) == {"v0", "v1"}


def test_a_bridge_ends_at_its_ports() -> None:
    commands = """
        ip link add br0 type bridge
        ip link set v1 master br0
        ip link set br0 up
        ip route add default dev br0
    """
    assert told(commands) | {"towards": {}} == {"default": ["br0"], "ends": [["v1"]], "towards": {}}


def test_a_macvlan_ends_at_its_card() -> None:
    commands = """
        ip link add link v1 name mv0 type macvlan
        ip link set mv0 up
        ip route add default dev mv0
    """
    assert told(commands)["ends"] == [["v1"]]


def test_a_vlan_on_a_bond_ends_at_its_cards() -> None:
    commands = """
        ip link add bond0 type bond
        ip link set v1 down
        ip link set v1 master bond0
        ip link add link bond0 name bond0.7 type vlan id 7
        ip link set bond0 up
        ip link set bond0.7 up
        ip route add default dev bond0.7
    """
    assert told(commands)["ends"] == [["v1"]]


def test_the_way_to_a_server() -> None:
    found = told("ip route add 203.0.113.0/24 dev v1", "203.0.113.5", "192.0.2.9", "10.9.9.9")
    assert found["towards"] == {"203.0.113.5": "v1", "192.0.2.9": "v0", "10.9.9.9": None}


def test_a_thousand_routes_and_the_default_last() -> None:
    """An answer of many packets."""
    commands = """
        for a in $(seq 0 3); do for b in $(seq 0 255); do
            echo "route add 10.$a.$b.0/24 dev v1"
        done; done | ip -batch -
        ip route add default via 192.0.2.1 metric 4000000000
    """
    assert told(commands)["default"] == ["v0"]


def test_a_dump_that_is_torn_again_and_again_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(*_: object) -> list[bytes]:
        raise InterruptedError

    monkeypatch.setattr(critical_routes, "_ask", torn)
    with pytest.raises(OSError, match="too fast"):
        KernelRoutes().default()


@pytest.mark.parametrize("answer", [b"\0" * 4, b"\x08\0\0\0" + b"\0" * 12])
def test_an_answer_that_makes_no_sense_is_an_error(answer: bytes) -> None:
    with pytest.raises(OSError, match="a message"):
        list(critical_routes._messages(answer))
