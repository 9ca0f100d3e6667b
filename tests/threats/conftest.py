"""Stages and client processes, as the walks have them; a door in the test's process; helpers."""

from tests.unit.daemon.conftest import door
from tests.unit.kernel.conftest import helpers, sysfs
from tests.walk.conftest import _shared, borrower, borrowers, raised, stage

__all__ = ["_shared", "borrower", "borrowers", "door", "helpers", "raised", "stage", "sysfs"]
