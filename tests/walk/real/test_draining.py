"""A cdev that is kept past its lease while it is not bound: no probe sees it, only an unbind."""

import pytest

from tests.threats.test_devices import test_unbound_cdev_is_kept_past_its_lease

__all__ = ["test_unbound_cdev_is_kept_past_its_lease"]

pytestmark = pytest.mark.lab(kernels=("7.2",), topology="standard", limit=400)
