"""The walks that need IOMMUFD and device cdevs, on the kernel that has them."""

import pytest

from tests.walk.test_grant import (
    test_every_way_out_restores_the_drivers,
    test_one_of_two_leases_the_group_and_parks_the_sibling,
    test_rights_on_nodes_end_at_once,
    test_the_client_has_what_was_declared_and_nothing_else,
)
from tests.walk.test_leaving import (
    test_killed_with_an_unread_reply,
    test_the_lease_outlives_the_connection,
)
from tests.walk.test_own_lease import (
    test_fresh_files_when_the_former_are_closed,
    test_no_fresh_files_while_one_is_open,
)
from tests.walk.test_restart import (
    test_a_client_that_lives_through_a_restart,
)

__all__ = [
    "test_a_client_that_lives_through_a_restart",
    "test_every_way_out_restores_the_drivers",
    "test_fresh_files_when_the_former_are_closed",
    "test_killed_with_an_unread_reply",
    "test_no_fresh_files_while_one_is_open",
    "test_one_of_two_leases_the_group_and_parks_the_sibling",
    "test_rights_on_nodes_end_at_once",
    "test_the_client_has_what_was_declared_and_nothing_else",
    "test_the_lease_outlives_the_connection",
]

pytestmark = pytest.mark.lab(kernels=("7.2",), topology="standard")
