"""Taking devices from their drivers and giving them back."""

from __future__ import annotations

from isod.model.host import VFIO_PCI
from isod.model.reason import Reason
from isod.model.step import Bind, Reset, Restore, Unbind
from tests.contract.acts import again, fence, give_back, refusal, take
from tests.contract.host_under_test import HostUnderTest


class BindingCases:
    def test_a_device_is_taken_and_given_back(self, host: HostUnderTest) -> None:
        device = host.device("single")
        taken = take(host, device)
        assert taken.driver == VFIO_PCI
        assert taken.driver_override == VFIO_PCI
        restored = give_back(host, device)
        assert restored.driver == device.driver
        assert restored.driver_override is None
        assert restored.generation == device.generation

    def test_the_former_override_comes_back(self, host: HostUnderTest) -> None:
        device = host.device("single")
        assert device.driver is not None
        host.write(device.address, "driver_override", device.driver)
        overridden = again(host, device.address)
        assert overridden.driver_override == device.driver
        assert take(host, overridden).driver == VFIO_PCI
        restored = give_back(host, overridden)
        assert restored.driver == device.driver
        assert restored.driver_override == device.driver

    def test_a_driverless_device_stays_driverless(self, host: HostUnderTest) -> None:
        device = host.device("single")
        host.unbind(device.address)
        host.write(device.address, "driver_override", "none-of-them")
        loose = again(host, device.address)
        assert (loose.driver, loose.driver_override) == (None, "none-of-them")
        assert take(host, loose).driver == VFIO_PCI
        restored = give_back(host, loose)
        assert (restored.driver, restored.driver_override) == (None, "none-of-them")

    def test_siblings_are_parked(self, host: HostUnderTest) -> None:
        device = host.device("pair")
        assert device.group is not None
        members = host.kernel.snapshot(1).members(device.group)
        for member in members:
            take(host, member, sibling=member.address != device.address)
        assert all(again(host, member.address).on_vfio for member in members)
        for member in members:
            assert give_back(host, member).driver == member.driver

    def test_every_step_may_run_twice(self, host: HostUnderTest) -> None:
        device = host.device("single")
        assert device.driver is not None
        unbind = Unbind(device.address, device.generation, device.driver, VFIO_PCI)
        bind = Bind(device.address, device.generation, VFIO_PCI)
        restore = Restore(device.address, device.generation, device.driver, None)
        for step in (unbind, unbind, bind, bind, unbind):
            host.kernel.run(step)
        assert again(host, device.address).driver == VFIO_PCI
        fence(host.kernel, device)
        fence(host.kernel, device)
        host.kernel.run(restore)
        host.kernel.run(restore)
        restored = again(host, device.address)
        assert (restored.driver, restored.driver_override) == (device.driver, None)

    def test_what_isod_was_quicker_with_gets_its_own_driver(self, host: HostUnderTest) -> None:
        """Whichever that is; what it had before is left without one as it was."""
        device = host.device("single")
        host.unbind(device.address)
        loose = again(host, device.address)
        host.kernel.run(Restore(loose.address, loose.generation, None, None))
        assert again(host, device.address).driver is None
        host.kernel.run(Restore(loose.address, loose.generation, None, None, own=True))
        assert again(host, device.address).driver == device.driver

    def test_a_bound_device_is_not_bound_again(self, host: HostUnderTest) -> None:
        device = host.device("single")
        step = Bind(device.address, device.generation, VFIO_PCI)
        refused = refusal(host.kernel, step, Reason.in_use_by_driver)
        assert refused.details["devices"] == [str(device.address)]
        assert again(host, device.address) == device

    def test_only_the_named_driver_is_unbound(self, host: HostUnderTest) -> None:
        device = host.device("single")
        step = Unbind(device.address, device.generation, "another", VFIO_PCI)
        refusal(host.kernel, step, Reason.in_use_by_driver)
        assert again(host, device.address) == device

    def test_a_driver_that_is_not_loaded_is_refused(self, host: HostUnderTest) -> None:
        device = host.device("single")
        host.unbind(device.address)
        loose = again(host, device.address)
        step = Bind(device.address, device.generation, "no-such-vfio-pci")
        refusal(host.kernel, step, Reason.unsupported)
        assert again(host, device.address) == loose

    def test_another_instance_is_left_alone(self, host: HostUnderTest) -> None:
        device = host.device("single")
        assert device.driver is not None
        other = device.generation + 1
        refusal(host.kernel, Unbind(device.address, other, device.driver, "x"), Reason.gone)
        refusal(host.kernel, Bind(device.address, other, VFIO_PCI), Reason.gone)
        refusal(host.kernel, Reset(device.address, other, required=True), Reason.gone)
        host.kernel.run(Restore(device.address, other, None, "none-of-them"))
        assert again(host, device.address) == device

    def test_a_restore_waits_for_the_fence(self, host: HostUnderTest) -> None:
        device = host.device("single")
        taken = take(host, device)
        step = Restore(device.address, device.generation, device.driver, None)
        refusal(host.kernel, step, Reason.kernel)
        assert again(host, device.address) == taken

    def test_a_function_is_reset(self, host: HostUnderTest) -> None:
        device = take(host, host.device("single"))
        result = host.kernel.run(Reset(device.address, device.generation, required=True))
        assert result.warnings == ()
