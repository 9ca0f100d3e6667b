"""The project's own units, under a real systemd on a real kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .client import Client
from .init import Init, outside, until_driver

pytestmark = pytest.mark.lab(kernels=("7.2",), limit=900)


def test_a_connection_starts_it(init: Init) -> None:
    """Only the sockets are there until somebody asks for something."""
    init.run("systemctl", "stop", "isod.service")
    assert init.show("isod.service", "ActiveState")["ActiveState"] == "inactive"
    with Client(init) as client:
        client.do("connect")
        init.until_active()


def test_the_whole_walk_in_the_unit(init: Init, nvme: str) -> None:
    """Bind, open, limits, use, close, fence, restore: all within what the unit allows."""
    with Client(init) as client:
        client.do("connect")
        before = client.do("memlock").split()[3]
        lease = client.do("acquire", device=nvme)
        assert isinstance(lease, str), lease
        assert client.do("memlock").split()[3] == str(2 << 30) != before
        client.do("use", device=nvme, what="bind")
        assert client.do("use", device=nvme, what="attach") is None
        client.do("close", device=nvme)
        until_driver(nvme, "nvme")
    assert "MESSAGE_ID=e13c7a5f9b084d62a7f5c0b8d4e61f92" in init.log("--output", "export")
    told = init.run("isoctl", "log", "--lease", lease, "--json").splitlines()
    assert [json.loads(line)["kind"] for line in told] == [
        "lease.granted",
        "lease.draining",
        "lease.ended",
    ]


def test_the_guard_sees_the_host(init: Init) -> None:
    """Mounts, routes and disks are visible in the unit, or nothing would ever be granted."""
    assert "not looked up" not in init.log()
    assert "host's needs" not in init.log()


def test_the_survey_unit_tells_what_the_daemon_may_not_read(init: Init, nvme: str) -> None:
    """It reads config space in a unit of its own, and the daemon believes its file."""
    survey = Path("/run/isod/survey/survey.json")
    survey.unlink(missing_ok=True)
    with Client(init) as client:
        client.do("connect")
        unknown = client.do("isolation", device=nvme)
        init.run("systemctl", "start", "isod-survey.service")
        known = client.do("isolation", device=nvme)
    shown = init.show("isod-survey.service", "Result", "ExecMainStatus")
    assert shown == {"Result": "success", "ExecMainStatus": "0"}, init.log()
    assert (survey.stat().st_uid, survey.stat().st_mode & 0o777) == (0, 0o644)
    assert (unknown["isolation"], known["isolation"]) == ("unknown", "device")
    # Access Control Services, which no sysfs file but config space past its 64th byte has.
    assert [hop["redirects"] for hop in known["path"][1:]] == ["yes"]
    assert known["path"][1]["on"]


def test_what_the_unit_may_not(init: Init) -> None:
    """One capability, no device but VFIO's and IOMMUFD's, no family but two."""
    status = Path(f"/proc/{outside(init.until_active())}/status").read_text()
    fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
    assert int(fields["CapBnd"], 16) == int(fields["CapEff"], 16) == 1 << 24  # CAP_SYS_RESOURCE
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
