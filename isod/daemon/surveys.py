"""What the survey found in config space: read again whenever the file is another one."""

from __future__ import annotations

from pathlib import Path

import trio

from isod.core.isolation_analysis import IsolationAnalysis
from isod.core.pci_links import Hierarchies
from isod.model.isolation import IsolationInfo
from isod.model.reason import Reason, RefusedError
from isod.model.request import OneDevice

from .survey_file import Edition, SurveyError, edition, read_survey
from .world import World


class Surveys:
    """Keeps the world's picture of config space current, for whoever asks about isolation.

    A file that is gone, or not to be believed, leaves everything unknown: an older survey would
    say what may not be so any more. Each edition is read, and complained of, once.
    """

    def __init__(self, folder: Path, world: World) -> None:
        self._folder = folder
        self._world = world
        self._edition: Edition | None = None
        self._turn = trio.Lock()
        self._hierarchies = Hierarchies(world.snapshot)

    async def look(self) -> None:
        """Take in the file if it has changed; a look at its size and times costs microseconds."""
        async with self._turn:
            now = edition(self._folder)
            if now == self._edition:
                return
            self._edition = now
            try:
                found = await trio.to_thread.run_sync(read_survey, self._folder)
            except SurveyError as error:
                self._world.journal.record(
                    "survey", f"not used, isolation stays unknown: {self._folder}: {error}"
                )
                self._world.note_survey(())
                return
            # What was read may be newer than what was seen.
            self._edition = None if found is None else found[0]
            self._world.note_survey(() if found is None else found[1].functions)

    def show(self, params: OneDevice) -> IsolationInfo:
        """Raises RefusedError for a device that is not there."""
        device = self._world.snapshot.devices.get(params.address)
        if device is None:
            raise RefusedError(Reason.not_found, f"there is no device {params.address.short}")
        isolation = self._world.isolation
        if self._hierarchies.snapshot is not isolation.snapshot:
            self._hierarchies = Hierarchies(isolation.snapshot)
        return IsolationAnalysis(isolation, self._hierarchies, device).info()
