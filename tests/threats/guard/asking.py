"""Asking for devices, and what one is told."""

from __future__ import annotations

from typing import Any

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason
from tests.walk.stage import Stage


class Asker:
    """One client: every question goes to explain and to acquire, which have to agree."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def refusal(self, device: str) -> dict[str, Any]:
        """The refusal of a device that the host needs; nothing may have changed after it.
        Returns the error's message, hint and the like."""
        before = self.stage.picture()
        explained = self._explain(device)
        assert not explained["allowed"], explained
        shown = explained["refusal"]
        with pytest.raises(Refused) as caught:
            self.stage.control.acquire([device]).close()
        assert caught.value.reason is Reason.host_critical
        assert shown["message"] == caught.value.message
        assert shown["data"]["hint"] == caught.value.hint
        assert self.stage.lease_count() == 0
        assert self.stage.picture() == before
        return {**caught.value.data, "message": caught.value.message}

    def words(self, device: str) -> str:
        """The refusal's sentence."""
        return str(self.refusal(device)["message"])

    def granted(self, device: str) -> list[str]:
        """The warnings of a grant; the device is given back at once."""
        explained = self._explain(device)
        assert explained["allowed"], explained["refusal"]
        with self.stage.control.acquire([device]) as lease:
            warnings = list(lease.warnings)
        self.stage.until_quiet()
        return warnings

    def _explain(self, device: str) -> dict[str, Any]:
        found = self.stage.control.call("lease.explain", {"devices": [{"address": device}]})
        assert isinstance(found, dict)
        return found
