"""What an administrator does to isod in its unit: reload, revoke, quarantine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vmm.broker import driver_of

from .administrator import Administrator
from .client import Client
from .conftest import RULES
from .init import Init, until_driver, write_policy

pytestmark = pytest.mark.lab(kernels=("7.2",), limit=900)


def test_systemctl_reload_reads_the_policy_anew(
    init: Init, nvme: str, administrator: Administrator, rules: Callable[[str], None]
) -> None:
    """The same process goes on with it; a policy with a fault changes nothing."""
    main = init.until_active()
    with Client(init) as client:
        client.do("connect")
        rules("version = 1\n")
        assert client.do("acquire", device=nvme) == {"refused": "denied"}
        write_policy("version = 1\n[[rule]]\n")
        init.run("systemctl", "reload", "isod.service")
        assert "refused" in administrator.call("admin.reload")  # read after that, or once more
        assert "the old one stays" in init.log()
        assert client.do("acquire", device=nvme) == {"refused": "denied"}
        rules(RULES)
        assert isinstance(client.do("acquire", device=nvme), str)
        client.do("close", device=nvme)
        until_driver(nvme, "nvme")
    assert init.until_active() == main


def test_revoking_takes_rights_on_nodes_and_waits_for_what_is_open(
    init: Init, nvme: str, administrator: Administrator
) -> None:
    with Client(init) as client:
        client.do("connect")
        lease = client.do("acquire", device=nvme, hand_over="nodes")
        assert client.do("use", device=nvme, what="open_by_path") is None
        answer = administrator.revoke(lease, now=True)
        assert (answer["asked"], answer["lease"]["state"]) == (False, "draining")
        found = administrator.until(lease, lambda lease: bool(lease["open"]))
        assert (found["state"], found["open"]) == ("draining", [f"pci:{nvme}"])
        assert "Errno 13" in client.do("use", device=nvme, what="open_by_path")["lost"]
        assert driver_of(nvme) == "vfio-pci"
        assert client.do("acquire", device=nvme) == {"refused": "group_busy"}
        client.do("close_opened")
        until_driver(nvme, "nvme")


def test_a_quarantine_is_set_lives_through_a_restart_and_is_cleared(
    init: Init, nvme: str, administrator: Administrator
) -> None:
    address = f"pci:{nvme}"
    with Client(init) as client:
        administrator.call("quarantine.set", address=address, why="firmware under test")
        init.run("systemctl", "restart", "isod.service")
        client.do("connect")
        assert client.do("acquire", device=nvme) == {"refused": "quarantined"}
        administrator.connect()
        found = administrator.call("quarantine.list")["devices"]
        assert [(device["address"], device["why"]) for device in found] == [
            (address, "firmware under test")
        ]
        assert administrator.call("quarantine.clear", address=address)["devices"] == []
        assert isinstance(client.do("acquire", device=nvme), str)
        client.do("close", device=nvme)
        until_driver(nvme, "nvme")
