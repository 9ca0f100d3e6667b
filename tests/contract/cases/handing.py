"""Files in the hands of an unprivileged client."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from isod.model.step import Fence, GrantNodes, Limit, OpenGroup, OpenIommufd, RevokeNodes
from tests.contract.acts import (
    PATIENCE_SECONDS,
    await_change,
    close_files,
    failing,
    give_back,
    lease_device,
    readable,
    require,
    take,
    take_group,
)
from tests.contract.cases.granting import started
from tests.contract.client import UID, running_client
from tests.contract.host_under_test import HostUnderTest

MIB = 1 << 20


class HandingCases:
    def test_copies_in_a_client_keep_the_group_busy(self, host: HostUnderTest) -> None:
        require(host, "container")
        device = take(host, host.device("single"))
        group = take_group(host, device)
        watch = host.kernel.watch()
        watch.watch_groups([group.number])
        with running_client() as client:
            result = host.kernel.run(OpenGroup((group,), (device.address,)))
            client.keep(result.files)
            close_files(result)
            with failing(errno.EBUSY):
                host.open_group(group.number)
            assert not host.kernel.use([lease_device(device)], [group]).idle
            assert watch.read().nodes == frozenset()
        await_change(watch, f"vfio/{group.number}")
        watch.close()
        assert host.kernel.use([lease_device(device)], [group]).idle

    def test_a_client_that_keeps_an_unbound_cdev_holds_the_fence(self, host: HostUnderTest) -> None:
        require(host, "iommufd")
        device = host.device("single")
        take(host, device)
        with running_client() as client:
            result = host.kernel.run(OpenIommufd((device.address,)))
            client.keep(result.files)
            close_files(result)
            pending = host.kernel.start(Fence(device.address, device.generation))
            assert not readable(pending, 0.5)
            client.do("close", name="device0")
            assert readable(pending, PATIENCE_SECONDS)
            pending.finish()
            assert give_back(host, device).driver == device.driver

    def test_a_handed_over_group_works_without_privileges(self, host: HostUnderTest) -> None:
        require(host, "container", "dma")
        device = take(host, host.device("single"))
        group = take_group(host, device)
        with running_client() as client:
            result = host.kernel.run(OpenGroup((group,), (device.address,)))
            client.keep(result.files)
            close_files(result)
            client.do("map", name="container", size=MIB)
            config = client.do("config", name="device0")
            assert isinstance(config, str)
            assert config.startswith(device.vendor[2:] + device.vendor[:2])

    def test_a_handed_over_cdev_works_without_privileges(self, host: HostUnderTest) -> None:
        require(host, "iommufd", "dma")
        device = take(host, host.device("single"))
        with running_client() as client:
            result = host.kernel.run(OpenIommufd((device.address,)))
            client.keep(result.files)
            close_files(result)
            client.do("attach", iommufd="iommufd", device="device0", size=MIB)
            config = client.do("config", name="device0")
            assert isinstance(config, str)
            assert config.startswith(device.vendor[2:] + device.vendor[:2])

    def test_a_raised_limit_lets_a_client_map_more(self, host: HostUnderTest) -> None:
        require(host, "container", "dma", "limits")
        device = take(host, host.device("single"))
        group = take_group(host, device)
        with running_client() as client:
            start = started(client.pid)
            host.kernel.run(Limit(client.pid, start, MIB, MIB, raise_only=False))
            result = host.kernel.run(OpenGroup((group,), (device.address,)))
            client.keep(result.files)
            close_files(result)
            with failing(errno.ENOMEM):
                client.do("map", name="container", size=4 * MIB)
            host.kernel.run(Limit(client.pid, start, 64 * MIB, 64 * MIB))
            client.do("map", name="container", size=4 * MIB)

    def test_granted_nodes_open_by_path(self, host: HostUnderTest) -> None:
        require(host, "container", "dma", "acl")
        group = take_group(host, host.device("single"))
        path = str(Path(host.root) / "dev" / "vfio" / str(group.number))
        with running_client() as client:
            with failing(errno.EACCES):
                client.do("open", name="group", path=path)
            host.kernel.run(GrantNodes((group,), UID))
            client.do("open", name="group", path=path)
            with failing(errno.EBUSY):
                host.open_group(group.number)
            client.do("close", name="group")
            host.kernel.run(RevokeNodes((group,), UID))
            with failing(errno.EACCES):
                client.do("open", name="group", path=path)
        os.close(host.open_group(group.number))
