"""Which network cards the host needs, on a directory that looks like a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from .fake_host import FakeHost

ROUTE = "carries the default route"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Two cards with an interface each."""
    host = FakeHost(tmp_path)
    host.interface("lo")
    host.interface("eth0", host.card("01:00.0"))
    host.interface("eth1", host.card("02:00.0"))
    return host


def test_nobody_needs_a_card_without_a_route(host: FakeHost) -> None:
    assert host.facts().uses == {}


def test_the_card_of_the_default_route(host: FakeHost) -> None:
    host.route_over("eth0")
    assert host.uses("01:00.0") == [f"{ROUTE} (eth0)"]
    assert host.uses("02:00.0") == []


def test_several_default_routes(host: FakeHost) -> None:
    host.route_over("eth0", "eth1", "lo")
    assert host.uses("01:00.0") == [f"{ROUTE} (eth0)"]
    assert host.uses("02:00.0") == [f"{ROUTE} (eth1)"]


@pytest.mark.parametrize("kind", ["bridge", "bonding", ""])
def test_below_a_bridge_a_bond_or_a_team(host: FakeHost, kind: str) -> None:
    host.interface("top0", None, "eth0", "eth1", kind=kind)
    host.route_over("top0")
    assert host.uses("01:00.0") == [f"{ROUTE} (top0 over eth0)"]
    assert host.uses("02:00.0") == [f"{ROUTE} (top0 over eth1)"]


def test_below_a_vlan_on_a_bridge_on_a_bond(host: FakeHost) -> None:
    host.interface("bond0", None, "eth1", kind="bonding")
    host.interface("br0", None, "bond0", kind="bridge")
    host.interface("br0.7", None, "br0")
    host.route_over("br0.7")
    assert host.uses("02:00.0") == [f"{ROUTE} (br0.7 over eth1)"]
    assert host.uses("01:00.0") == []


def test_a_bridge_without_ports_needs_no_card(host: FakeHost) -> None:
    host.interface("br0", None, kind="bridge")
    host.route_over("br0")
    assert host.facts().uses == {}


def test_a_tunnel_may_run_over_any_card_that_is_up(host: FakeHost) -> None:
    host.interface("wg0")
    host.route_over("wg0")
    (host.root / "sys/class/net/eth1/flags").write_text("0x1002\n")
    assert host.uses("01:00.0") == ["may carry wg0, and so the default route (eth0)"]
    assert host.uses("02:00.0") == []


def test_an_interface_that_is_not_there_makes_every_card_suspect(host: FakeHost) -> None:
    host.routes.over = frozenset({77})
    for name in ("01:00.0", "02:00.0"):
        assert host.uses(name) == ["may carry a default route over an unknown interface"]


def test_routes_that_cannot_be_read_make_every_card_suspect(host: FakeHost) -> None:
    host.routes.broken = True
    (use,) = host.uses("01:00.0")
    assert use.startswith("may carry the default route (the routes: ")


def test_a_virtio_card_is_found_above_its_virtio_device(host: FakeHost) -> None:
    card = host.card("03:00.0", driver="virtio-pci")
    host.interface("eth2", card / "virtio0")
    host.route_over("eth2")
    assert host.uses("03:00.0") == [f"{ROUTE} (eth2)"]


class TestOutOfSight:
    """Cards whose interface isod does not see."""

    def test_an_interface_in_another_namespace(self, host: FakeHost) -> None:
        (host.card("03:00.0") / "net").mkdir()
        assert host.uses("03:00.0") == ["has its network interface in another namespace"]

    def test_a_virtio_interface_in_another_namespace(self, host: FakeHost) -> None:
        (host.card("03:00.0", driver="virtio-pci") / "virtio0/net").mkdir(parents=True)
        assert host.uses("03:00.0") == ["has its network interface in another namespace"]

    def test_a_driver_without_any_interface(self, host: FakeHost) -> None:
        host.card("03:00.0", driver="mlx4_core")
        assert host.uses("03:00.0") == [
            "is run by mlx4_core without a network interface that isod sees"
        ]

    @pytest.mark.parametrize(
        "driver", [None, "vfio-pci", "mlx5_vfio_pci", "pci-stub", "uio_pci_generic"]
    )
    def test_no_driver_of_the_host(self, host: FakeHost, driver: str | None) -> None:
        host.card("03:00.0", driver=driver)
        assert host.uses("03:00.0") == []


class TestServers:
    """Disks that come over the network."""

    def test_the_root_on_nfs(self, host: FakeHost) -> None:
        host.mount("server:/root", "/", "nfs4", "rw,vers=4.2,addr=192.0.2.5")
        host.server("192.0.2.5", "eth1")
        assert host.uses("02:00.0") == ["carries the root of NFS (eth1)"]
        assert host.uses("01:00.0") == []

    def test_nfs_over_a_bridge(self, host: FakeHost) -> None:
        host.interface("br0", None, "eth0", kind="bridge")
        host.mount("server:/home", "/home", "nfs", "rw,addr=2001:db8::5")
        host.server("2001:db8::5", "br0")
        assert host.uses("01:00.0") == ["carries /home of NFS (br0 over eth0)"]

    @pytest.mark.parametrize("options", ["rw", "rw,addr=nonsense", "rw,addr=192.0.2.77"])
    def test_a_server_that_is_not_found_makes_every_card_suspect(
        self, host: FakeHost, options: str
    ) -> None:
        host.mount("server:/root", "/", "nfs4", options)
        words = "may carry the root of NFS (the way there was not found)"
        assert host.uses("01:00.0") == host.uses("02:00.0") == [words]

    def test_iscsi(self, host: FakeHost) -> None:
        host.write("sys/class/iscsi_connection/connection1:0/address", "192.0.2.9\n")
        host.server("192.0.2.9", "eth0")
        assert host.uses("01:00.0") == ["carries iSCSI connection1:0 (eth0)"]

    def test_nvme_over_tcp(self, host: FakeHost) -> None:
        host.write("sys/class/nvme/nvme0/transport", "pcie\n")
        host.write("sys/class/nvme/nvme1/transport", "tcp\n")
        host.write("sys/class/nvme/nvme1/address", "traddr=192.0.2.9,trsvcid=4420\n")
        host.server("192.0.2.9", "eth0")
        assert host.uses("01:00.0") == ["carries nvme1, an NVMe disk of the network (eth0)"]
