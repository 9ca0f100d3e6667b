"""What the host really uses, on real kernels: each is refused, and granted when the use has ended.

The stock 6.12 has what the lab's own kernel lacks: swap, bridges, bonds, VLANs, device mapper.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware
from tests.walk.stage import Stage

from .asking import Asker
from .in_use import default_route, disk, interface, link, namespace, run

pytestmark = pytest.mark.lab(kernels=("6.12", "7.2"))
stock = pytest.mark.lab(kernels=("6.12",))


def short(address: str) -> str:
    return address.removeprefix("0000:")


class TestRoutes:
    """Network cards below a default route."""

    def test_a_card(self, hardware: Hardware, stage: Stage, asker: Asker) -> None:
        card, fellow = hardware.two_functions
        name = interface(stage, card)
        with default_route(name):
            sentence = f"{short(card)} carries the default route ({name})"
            assert asker.words(card) == sentence
            group = hardware.function(card).group
            assert asker.words(fellow) == (
                f"{short(fellow)} shares group {group} with {short(card)}, which carries the "
                f"default route ({name})"
            )
            assert asker.granted(hardware.switch_nics[0]) == []
        assert asker.granted(card) == []

    def test_a_card_behind_a_bridge_of_pci(
        self, hardware: Hardware, stage: Stage, asker: Asker
    ) -> None:
        card, fellow = hardware.bridge_nics
        name = interface(stage, card)
        with default_route(name):
            refused = asker.refusal(fellow)
            assert str(refused["message"]).endswith(f"carries the default route ({name})")
            assert refused["hint"] == (
                f"Move the route, or list {short(card)} in critical_ok of your rule."
            )
        assert asker.granted(fellow) == []

    @stock
    def test_below_a_bridge(self, hardware: Hardware, stage: Stage, asker: Asker) -> None:
        card = hardware.switch_nics[0]
        name = interface(stage, card)
        with link("br0", "bridge"):
            run("ip", "link", "set", name, "master", "br0")
            with default_route("br0"):
                assert asker.words(card).endswith(f"carries the default route (br0 over {name})")
        assert asker.granted(card) == []

    @stock
    def test_below_a_vlan_on_a_bond(self, hardware: Hardware, stage: Stage, asker: Asker) -> None:
        card = hardware.switch_nics[0]
        name = interface(stage, card)
        with link("bond7", "bond"), link("bond7.7", "vlan", "id", "7", over="bond7"):
            run("ip", "link", "set", name, "down")
            run("ip", "link", "set", name, "master", "bond7")
            run("ip", "link", "set", "bond7", "up")
            with default_route("bond7.7"):
                words = asker.words(card)
                assert words.endswith(f"carries the default route (bond7.7 over {name})")
        run("ip", "link", "set", name, "down")
        assert asker.granted(card) == []

    @stock
    def test_below_a_macvlan(self, hardware: Hardware, stage: Stage, asker: Asker) -> None:
        card = hardware.switch_nics[0]
        name = interface(stage, card)
        run("ip", "link", "set", name, "up")
        with link("mv0", "macvlan", over=name), default_route("mv0"):
            assert asker.words(card).endswith(f"carries the default route (mv0 over {name})")
        run("ip", "link", "set", name, "down")
        assert asker.granted(card) == []

    def test_in_another_network_namespace(
        self, hardware: Hardware, stage: Stage, asker: Asker
    ) -> None:
        card = hardware.switch_nics[0]
        name = interface(stage, card)
        with namespace("net") as process:
            run("ip", "link", "set", name, "netns", str(process))
            assert asker.words(card).endswith("has its network interface in another namespace")
        interface(stage, card)  # it comes back when the namespace is gone
        assert asker.granted(card) == []


class TestDisks:
    """The NVMe in use."""

    @staticmethod
    @contextmanager
    def mounted(name: str, place: Path) -> Iterator[None]:
        run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", f"/dev/{name}", "32M")
        run("mount", f"/dev/{name}", str(place))
        try:
            yield
        finally:
            run("umount", str(place))

    def test_mounted(self, hardware: Hardware, stage: Stage, asker: Asker, tmp_path: Path) -> None:
        name = disk(stage, hardware.nvme)
        with self.mounted(name, tmp_path):
            refused = asker.refusal(hardware.nvme)
            assert str(refused["message"]).startswith(f"{short(hardware.nvme)} holds /")
            assert str(refused["message"]).endswith(f" ({name})")
            assert str(refused["hint"]).startswith("Unmount it, or list")
        assert asker.granted(hardware.nvme) == []

    def test_mounted_in_another_namespace(
        self, hardware: Hardware, stage: Stage, asker: Asker, tmp_path: Path
    ) -> None:
        name = disk(stage, hardware.nvme)
        with self.mounted(name, tmp_path):
            pass
        with namespace("mount", f"mount /dev/{name} {tmp_path}"):
            assert asker.words(hardware.nvme).endswith(
                f"holds ext4 that is mounted in another namespace ({name})"
            )
        ended = Path(f"/sys/fs/ext4/{name}")
        stage.daemon.until(lambda: not ended.exists(), "still mounted")
        assert asker.granted(hardware.nvme) == []

    @stock
    def test_swap(self, hardware: Hardware, stage: Stage, asker: Asker) -> None:
        name = disk(stage, hardware.nvme)
        run("mkswap", f"/dev/{name}")
        run("swapon", f"/dev/{name}")
        try:
            assert asker.words(hardware.nvme).endswith(f"holds swap ({name})")
        finally:
            run("swapoff", f"/dev/{name}")
        assert asker.granted(hardware.nvme) == []

    @stock
    def test_device_mapper_and_what_is_mounted_from_it(
        self, hardware: Hardware, stage: Stage, asker: Asker, tmp_path: Path
    ) -> None:
        name = disk(stage, hardware.nvme)
        run("modprobe", "dm-mod")
        create = ("dmsetup", "create", "--noudevsync", "--noudevrules", "upper")
        run(*create, "--uuid", "LVM-upper", "--table", f"0 131072 linear /dev/{name} 0")
        try:
            assert asker.words(hardware.nvme).endswith(f"holds LVM volume upper ({name})")
            (node,) = (path.name for path in Path("/sys/class/block").glob("dm-*"))
            with self.mounted(node, tmp_path):
                assert f"(LVM volume upper on {name})" in asker.words(hardware.nvme)
        finally:
            run("dmsetup", "remove", "--noudevsync", "--retry", "upper")
        assert asker.granted(hardware.nvme) == []


def test_a_chipset_function_and_what_shares_its_group(hardware: Hardware, asker: Asker) -> None:
    bridge = next(one.address for one in hardware.functions() if one.kind == "0601")
    assert asker.words(bridge).startswith(f"{short(bridge)} is an ISA bridge of the chipset")
    fellows = [one for one in hardware.group_members(bridge) if one != bridge]
    for fellow in fellows:
        assert "of the chipset" in asker.words(fellow)


def test_nothing_else_of_an_idle_guest_is_refused(hardware: Hardware, asker: Asker) -> None:
    for device in (hardware.nvme, hardware.two_functions[0], hardware.switch_nics[1]):
        assert asker.granted(device) == []
