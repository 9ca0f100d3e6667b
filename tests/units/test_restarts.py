"""Restarts and kills of the daemon under a real systemd: who has a device does not notice."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware
from tests.vmm.broker import driver_of

from .client import Client
from .init import READY_SECONDS, Init, outside, until_driver, until_ended, until_not_driver

pytestmark = pytest.mark.lab(kernels=("7.2",), limit=1500)

ROUNDS = 10


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_holder_does_not_notice(init: Init, hardware: Hardware, how: str) -> None:
    """In each round a request is in flight, one other client dies while isod is down, and a thief
    is refused."""
    nvme = hardware.nvme
    pair, switch = hardware.two_functions, hardware.switch_nics[0]
    drivers = {address: driver_of(address) for address in (*pair, switch)}
    granted = 0
    with (
        Client(init) as holder,
        Client(init) as thief,
        Client(init) as busy,
        Client(init) as watcher,
    ):
        for client in (holder, busy, watcher):
            assert client.do("connect") is None
        lease = holder.do("acquire", device=nvme, key="kept")
        holder.do("use", device=nvme, what="bind")
        config = holder.do("use", device=nvme, what="config")
        watcher.do("follow")
        for _ in range(ROUNDS):
            with Client(init) as dying:
                dying.do("connect")
                mortal = dying.do("acquire", device=switch)
                assert watcher.do("until", kind="lease.granted", lease=mortal) is None
                main = init.until_active()
                process = outside(main)
                busy.begin("acquire", device=pair[0])
                until_not_driver(pair[0], str(drivers[pair[0]]))
                if how == "restart":
                    init.run("systemctl", "restart", "--no-block", "isod.service")
                else:
                    os.kill(process, signal.SIGKILL)
                until_ended(process)
                dying.kill()
                assert init.show("isod.service", "ActiveState")["ActiveState"] != "active"
            # The sockets are there; who connects now is served when isod is.
            thief.begin("connect")
            main = init.until_active(but_not=main)
            assert thief.answer() is None
            assert thief.do("acquire", device=nvme) == {"refused": "group_busy"}
            for client in (holder, watcher):
                assert client.do("connect") is None
            assert holder.do("acquire", device=nvme, key="kept") == lease
            assert holder.do("use", device=nvme, what="config") == config
            # What happened between the two daemons nobody can tell: look anew.
            assert watcher.do("missed") == "gone"
            watcher.do("follow")

            answer = busy.answer()
            assert busy.do("connect") is None
            if isinstance(answer, str):
                granted += 1
                assert answer in busy.do("listed")
                busy.do("close", device=pair[0])
                assert watcher.do("until", kind="lease.ended", lease=answer) is None
            else:
                assert answer.keys() <= {"lost", "refused"}, answer
            for address, driver in drivers.items():
                until_driver(address, driver)
            until_alone(init, holder, lease)
            assert holds(main, holder.do("hold", device=nvme)) == 1
            assert driver_of(nvme) == "vfio-pci"
        print(f"{how}: {granted} of {ROUNDS} requests in flight were granted")
        assert holder.do("use", device=nvme, what="attach") is None
        holder.do("close", device=nvme)
        until_driver(nvme, "nvme")
    until_kept(init, 0)


def until_alone(init: Init, holder: Client, lease: str) -> None:
    """Wait until there is one lease, whose hold systemd keeps."""
    deadline = time.monotonic() + READY_SECONDS
    while (found := holder.do("listed")) != [lease]:
        assert time.monotonic() < deadline, f"{found}\n{init.log()}"
        time.sleep(0.2)
    until_kept(init, 1)


def holds(main: str, pipe: str) -> int:
    """How often isod has a hold open; nothing of VFIO may it have at all."""
    opened: list[str] = []
    for path in Path(f"/proc/{outside(main)}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            opened.append(str(path.readlink()))
    assert not [target for target in opened if "vfio" in target or "iommu" in target], opened
    return opened.count(pipe)


def until_kept(init: Init, count: int) -> None:
    """Wait until systemd keeps so many holds: it is told without an answer."""
    deadline = time.monotonic() + READY_SECONDS
    while (kept := init.show("isod.service", "NFileDescriptorStore")) != {
        "NFileDescriptorStore": str(count)
    }:
        assert time.monotonic() < deadline, f"{kept}\n{init.log()}"
        time.sleep(0.2)


def test_the_watchdog_ends_who_answers_nobody(init: Init, hardware: Hardware) -> None:
    """A daemon that stands still is ended and started anew; its leases do not notice."""
    nvme = hardware.nvme
    with Client(init) as holder:
        holder.do("connect")
        lease = holder.do("acquire", device=nvme, key="watched")
        holder.do("use", device=nvme, what="bind")
        config = holder.do("use", device=nvme, what="config")
        main = init.until_active()
        before = int(init.show("isod.service", "NRestarts")["NRestarts"])
        os.kill(outside(main), signal.SIGSTOP)
        init.until_active(but_not=main)
        assert int(init.show("isod.service", "NRestarts")["NRestarts"]) > before
        holder.do("connect")
        assert holder.do("acquire", device=nvme, key="watched") == lease
        assert holder.do("use", device=nvme, what="config") == config
        holder.do("close", device=nvme)
        until_driver(nvme, "nvme")
