"""A physical function and its virtual ones share a fate, and isod gives none of it to two."""

from __future__ import annotations

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import outside
from isod.kernel.simulated.hosts import SRIOV
from isod.model.reason import Reason

from .conftest import Raise, Start

pytestmark = pytest.mark.slow  # starts and ends many daemons

PHYSICAL, FIRST, SECOND = "0000:01:00.0", "0000:01:10.0", "0000:02:10.0"


def test_virtual_functions_of_one_card_go_to_two_owners(raised: Raise, borrower: Start) -> None:
    stage = raised(SRIOV)
    one, two = borrower(), borrower()
    for client, device in ((one, FIRST), (two, SECOND)):
        client.connect(stage)
        assert client.do("acquire", devices=[device], hand_over="iommufd")["state"] == "leased"
    with pytest.raises(Refused) as refused:
        two.do("acquire", devices=[PHYSICAL], name="another")
    assert refused.value.reason is Reason.reset_domain_shared
    assert refused.value.hint == "set sriov_numvfs to 0 first"


def test_functions_that_are_made_while_their_card_is_leased(raised: Raise, borrower: Start) -> None:
    """They are given to nobody, and the card is not taken from them when its lease ends."""
    stage = raised(SRIOV)
    root = stage.machine.root
    outside.virtual_functions(root, PHYSICAL, 0)
    client, other = borrower(), borrower()
    client.connect(stage)
    other.connect(stage)
    stage.daemon.until(lambda: len(stage.control.devices()) == 2, "they were not missed")
    lease = client.do("acquire", devices=[PHYSICAL], hand_over="iommufd")

    outside.virtual_functions(root, PHYSICAL, 2)
    stage.daemon.until(lambda: len(stage.control.devices()) == 4, "they were not noticed")
    with pytest.raises(Refused) as refused:
        other.do("acquire", devices=[FIRST])
    assert refused.value.reason is Reason.reset_domain_shared

    client.do("close")
    stage.daemon.wait_for("lease.in_use", lease["id"])
    draining = client.do("call", method="lease.get", params={"lease": lease["id"]})["lease"]
    assert draining["open"] == [f"pci:{FIRST}", f"pci:{SECOND}"]
    outside.virtual_functions(root, PHYSICAL, 0)
    stage.daemon.wait_for("lease.ended", lease["id"])
    outside.virtual_functions(root, PHYSICAL, 2)
    stage.daemon.until(lambda: len(stage.control.devices()) == 4, "they are not back")
    for function in (FIRST, SECOND):
        outside.unbind_driver(root, function)
