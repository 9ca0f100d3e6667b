"""Rights and limits of other processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.model.reason import Reason
from isod.model.step import GrantNodes, GroupName, Limit, RevokeNodes
from tests.contract.acts import refusal, require, take_group
from tests.contract.host_under_test import HostUnderTest

UID = 65534
GIB = 1 << 30


class NodesCases:
    def test_rights_are_given_and_taken_back(self, host: HostUnderTest) -> None:
        require(host, "acl", "container")
        groups = (
            take_group(host, host.device("single")),
            take_group(host, host.device("pair")),
        )
        nodes = [f"vfio/{group.number}" for group in groups]
        assert [host.acl(node) for node in nodes] == [{}, {}]
        for _ in range(2):
            assert host.kernel.run(GrantNodes(groups, UID)).warnings == ()
            assert [host.acl(node) for node in nodes] == [{UID: "rw"}, {UID: "rw"}]
        for _ in range(2):
            host.kernel.run(RevokeNodes(groups, UID))
            assert [host.acl(node) for node in nodes] == [{}, {}]

    def test_two_users_do_not_get_in_each_others_way(self, host: HostUnderTest) -> None:
        require(host, "acl", "container")
        group = take_group(host, host.device("single"))
        node = f"vfio/{group.number}"
        host.kernel.run(GrantNodes((group,), UID))
        host.kernel.run(GrantNodes((group,), UID - 1))
        assert host.acl(node) == {UID: "rw", UID - 1: "rw"}
        host.kernel.run(RevokeNodes((group,), UID))
        assert host.acl(node) == {UID - 1: "rw"}
        host.kernel.run(RevokeNodes((group,), UID - 1))

    def test_all_or_none(self, host: HostUnderTest) -> None:
        require(host, "acl", "container")
        group = take_group(host, host.device("single"))
        gone = GroupName(group.number, group.generation + 1)
        refusal(host.kernel, GrantNodes((group, gone), UID), Reason.gone)
        assert host.acl(f"vfio/{group.number}") == {}

    def test_a_group_without_a_node_gets_none(self, host: HostUnderTest) -> None:
        require(host, "acl", "container")
        group = take_group(host, host.device("single"))
        device = host.device("pair")
        assert device.group is not None
        other = host.kernel.look_group(device.group)
        assert other is not None
        unbound = GroupName(other.number, other.generation)
        refusal(host.kernel, GrantNodes((group, unbound), UID), Reason.gone)
        assert host.acl(f"vfio/{group.number}") == {}

    def test_nodes_that_are_gone_took_their_rights_along(self, host: HostUnderTest) -> None:
        require(host, "acl", "container")
        device = host.device("pair")
        assert device.group is not None
        host.kernel.run(RevokeNodes((GroupName(device.group, 1),), UID))


def started(pid: int) -> int:
    """A process's start time, as a Limit names it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


class LimitCases:
    @pytest.fixture
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-I", "-S", "-c", "input()"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            yield process
            assert process.stdin is not None
            process.stdin.write(b"\n")

    def test_a_limit_is_raised_and_lowered(
        self, host: HostUnderTest, process: subprocess.Popen[bytes]
    ) -> None:
        require(host, "limits")
        pid, start = process.pid, started(process.pid)
        former = host.kernel.run(Limit(pid, start, 4 * GIB, 8 * GIB)).former_limit
        assert former is not None
        assert host.kernel.run(Limit(pid, start, GIB, GIB)).former_limit == (4 * GIB, 8 * GIB)
        lowered = host.kernel.run(Limit(pid, start, GIB, 2 * GIB, raise_only=False))
        assert lowered.former_limit == (4 * GIB, 8 * GIB)
        assert host.kernel.run(Limit(pid, start, -1, -1)).former_limit == (GIB, 2 * GIB)
        assert host.kernel.run(Limit(pid, start, *former, False)).former_limit == (-1, -1)
        assert host.kernel.run(Limit(pid, start, 0, 0)).former_limit == former

    def test_a_reused_pid_is_left_alone(
        self, host: HostUnderTest, process: subprocess.Popen[bytes]
    ) -> None:
        require(host, "limits")
        pid, start = process.pid, started(process.pid)
        before = host.kernel.run(Limit(pid, start, 0, 0)).former_limit
        assert host.kernel.run(Limit(pid, start - 1, GIB, GIB)).former_limit is None
        assert host.kernel.run(Limit(pid, start, 0, 0)).former_limit == before

    def test_a_process_that_is_gone_is_no_failure(self, host: HostUnderTest) -> None:
        require(host, "limits")
        with subprocess.Popen(["true"]) as process:
            start = started(process.pid)
        assert host.kernel.run(Limit(process.pid, start, GIB, GIB)).former_limit is None
