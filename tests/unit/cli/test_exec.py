"""``isoctl exec``: commands find the devices open, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import DISK, Cards

COMMAND = (sys.executable, str(Path(__file__).with_name("tell_files.py")))


def _qemu_version() -> int:
    if shutil.which("qemu-system-x86_64") is None:
        return 0
    command = ("qemu-system-x86_64", "--version")
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    found = re.search(r"version (\d+)", said)
    return int(found[1]) if found else 0


def test_the_command_finds_the_files_and_nothing_else(cards: Cards) -> None:
    card = cards.next_card()
    ran = cards.spawn(
        *("exec", "-d", f"{card}.0", *COMMAND),
        *("a={iommufd}", "{device}", "{device:0}", f"{{device:{card}.0}}", "{hold}", "{{hold}}"),
        ISOD_SECRET="of something else",
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    numbers = json.loads(told["isod"]["ISOD_FDS"])
    iommufd, hold, device = (
        numbers["iommufd"],
        numbers["hold"],
        numbers["devices"][f"pci:0000:{card}.0"],
    )
    assert told["arguments"] == [
        *(f"a={iommufd}", str(device), str(device), str(device), str(hold), "{hold}"),
    ]
    assert {int(number) for number in told["files"]} == {0, 1, 2, iommufd, hold, device}
    assert "socket" not in json.dumps(told["files"])
    assert told["isod"].keys() == {"ISOD_FDS", "ISOD_LEASE"}


def test_the_lease_lives_as_long_as_the_command(cards: Cards) -> None:
    card = cards.next_card()
    command = cards.command("exec", "-d", f"{card}.0", *COMMAND)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        leases = json.loads(cards.run("leases", "--json").stdout)["leases"]
        (lease,) = [one for one in leases if one["id"] == told["isod"]["ISOD_LEASE"]]
        assert (lease["state"], lease["owner"]["pid"]) == ("leased", process.pid)
        assert cards.run("acquire", "-d", f"{card}.0").returncode == 3


def test_placeholders_choose_the_hand_over(cards: Cards) -> None:
    ran = cards.spawn("exec", "-d", f"{cards.next_card()}.0", *COMMAND, "{container}", "{group}")
    told = json.loads(ran.stdout)
    numbers = json.loads(told["isod"]["ISOD_FDS"])
    assert told["arguments"] == [str(numbers["container"]), str(*numbers["groups"].values())]


def test_qemu_gets_its_own_arguments(cards: Cards) -> None:
    one, other = cards.next_card(), cards.next_card()
    options = ("--qemu", "--qemu-device-options", "rombar=0")
    ran = cards.spawn("exec", *options, "-d", f"{one}.0", "-d", f"{other}.1", *COMMAND, "-m", "4G")
    told = json.loads(ran.stdout)
    numbers = json.loads(told["isod"]["ISOD_FDS"])
    first, second = (numbers["devices"][f"pci:0000:{name}"] for name in (f"{one}.0", f"{other}.1"))
    bus, next_bus = one.partition(":")[0], other.partition(":")[0]
    assert told["arguments"] == [
        *("-m", "4G", "-object", f"iommufd,id=isod0,fd={numbers['iommufd']}", "-device"),
        f"vfio-pci,id=isod-0000-{bus}-00.0,fd={first},iommufd=isod0,rombar=0",
        "-device",
        f"vfio-pci,id=isod-0000-{next_bus}-00.1,fd={second},iommufd=isod0,rombar=0",
    ]


def test_qemu_opens_nodes_by_path(cards: Cards) -> None:
    card = cards.next_card()
    ran = cards.spawn("exec", "--qemu", "--hand-over", "nodes", "-d", f"{card}.0", *COMMAND)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["arguments"][0] == "-device"
    assert f"host=0000:{card}.0" in told["arguments"][1]
    assert json.loads(told["isod"]["ISOD_FDS"]).keys() == {"hold", "devices", "groups"}


@pytest.mark.skipif(_qemu_version() < 9, reason="QEMU 9.0 or later is not installed")
def test_a_real_qemu_understands_the_arguments(cards: Cards) -> None:
    qemu = ("qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-display", "none", "-S")
    ran = cards.spawn("exec", "--qemu", "-d", f"{cards.next_card()}.0", "--", *qemu)
    assert ran.returncode == 1
    # It gets as far as the first ioctl on the very fds, which nobody simulates for it.
    assert re.search(r"bind device fd=\d+ to iommufd=\d+: Inappropriate ioctl", ran.stderr)


def test_the_secret_goes_along_on_request(cards: Cards) -> None:
    ran = cards.spawn("exec", "--pass-secret", "-d", f"{cards.next_card()}.0", *COMMAND)
    assert json.loads(ran.stdout)["isod"]["ISOD_SECRET"]


def test_other_files_go_along_on_request(cards: Cards) -> None:
    reading, writing = os.pipe()
    try:
        for number in (reading, writing):
            os.set_inheritable(number, True)
        options = ("--keep-fd", str(writing), "-d", f"{cards.next_card()}.0")
        ran = subprocess.run(
            cards.command("exec", *options, *COMMAND),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=60,
            pass_fds=(reading, writing),
        )
    finally:
        os.close(reading)
        os.close(writing)
    files = json.loads(ran.stdout)["files"]
    assert str(writing) in files
    assert str(reading) not in files or "pipe" not in files[str(reading)]


def test_literally_nothing_is_replaced(cards: Cards) -> None:
    device = f"{cards.next_card()}.0"
    ran = cards.spawn("exec", "--literal", "-d", device, *COMMAND, "{iommufd}", "{print}", "{{x}}")
    assert json.loads(ran.stdout)["arguments"] == ["{iommufd}", "{print}", "{{x}}"]


def test_the_exit_code_is_the_command_s(cards: Cards) -> None:
    ran = cards.spawn("exec", "-d", f"{cards.next_card()}.0", "--", "sh", "-c", "exit 42")
    assert ran.returncode == 42


def test_a_refusal_runs_nothing(cards: Cards) -> None:
    ran = cards.run("exec", "-d", DISK, "--", "echo", "ran")
    assert (ran.returncode, ran.stdout) == (3, "")
    in_json = cards.run("exec", "--json", "-d", DISK, "--", "echo", "ran")
    assert json.loads(in_json.stdout)["error"]["data"]["reason"] == "denied"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("true", "{devcie}"), "is no placeholder"),
        (("true", "{device:1}"), "positions go from 0 to 0"),
        (("--hand-over", "nodes", "true", "{iommufd}"), "need --hand-over iommufd"),
        (("--qemu", "--hand-over", "group", "true"), "QEMU takes no group fds"),
        (("--qemu", "true", "{group}"), "QEMU takes no group fds"),
        (("--qemu-device-options", "x=1", "true"), "goes with --qemu"),
        (("no-such-command-anywhere",), "there is no such command"),
        (("--keep-fd", "1", "true"), "--keep-fd"),
        ((), "COMMAND"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked_for(
    cards: Cards, arguments: tuple[str, ...], says: str
) -> None:
    ran = cards.run("exec", "-d", DISK, *arguments)  # asking for the disk would be refused
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr


def test_a_placeholder_without_its_file_ends_the_lease(cards: Cards) -> None:
    card = cards.next_card()
    ran = cards.spawn(
        "exec", "--container", "raw", "-d", f"{card}.0", "true", "{group}", "{device}"
    )
    assert ran.returncode == 1
    assert "without a file for {device}" in ran.stderr


def test_devices_out_of_a_pool_are_named_by_position(cards: Cards) -> None:
    ran = cards.spawn("exec", "-d", "pool:last:2", *COMMAND, "{device:1}", "{device:0}")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    devices = json.loads(told["isod"]["ISOD_FDS"])["devices"]
    assert list(devices) == ["pci:0000:28:00.0", "pci:0000:28:00.1"]
    assert told["arguments"] == [str(number) for number in reversed(devices.values())]


def test_qemu_gets_the_devices_that_a_pool_gave(cards: Cards) -> None:
    card = cards.next_card()
    options = ("--qemu", "--hand-over", "nodes", "-d", "pool:last", "-d", f"{card}.0")
    ran = cards.spawn("exec", *options, "--wait", "30", *COMMAND)
    assert ran.returncode == 0, ran.stderr
    hosts = re.findall(r"host=0000:([0-9a-f:.]+)", " ".join(json.loads(ran.stdout)["arguments"]))
    assert hosts == ["28:00.0", f"{card}.0"]


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        (("-d", "pool:last:2", "true", "{device}"), "2 devices are requested"),
        (("-d", "pool:last:2", "true", "{device:2}"), "positions go from 0 to 1"),
        (("-d", "pool:last:x", "true"), "write pool:NAME"),
        (("-d", "pool:last:0", "true"), "greater than or equal to 1"),
        (("-d", "pool:", "true"), "not a pool"),
        (("-d", DISK, "--numa", "0", "true"), "goes with -d pool:NAME"),
    ],
)
def test_a_pool_is_asked_for_rightly(cards: Cards, devices: tuple[str, ...], says: str) -> None:
    ran = cards.run("exec", *devices)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
