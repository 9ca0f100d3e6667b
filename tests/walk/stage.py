"""The stage of a walk: a folder, a machine, a policy, the daemon that runs there, and who looks."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from isod.client.blocking import Client

from .daemon import PATIENCE, Daemon, Launch, as_a_program, processes_of
from .line import Line
from .machine import Binding, Machine, Picture, picture
from .manager import Manager


class Stage:
    """Owns the folder and at most one daemon. ``before`` is the picture of the untouched machine.

    ``control`` is a connection of the harness itself: it sees all that its own uid may see.
    ``managed``: a service manager listens for the daemon and keeps its fds. ``launch`` starts it.
    """

    def __init__(
        self,
        furnish: Callable[[Path], Machine],
        policy: str,
        *,
        managed: bool = False,
        launch: Launch = as_a_program,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="isod-walk-"))
        self.folder.chmod(0o755)  # clients of another uid reach the socket in it
        self.socket = self.folder / "isod.sock"
        self._policy = self.folder / "policy"
        self._policy.mkdir()
        self.write_policy(policy)
        self.machine = furnish(self.folder / "machine")
        self.before = picture(self.machine)
        self.manager = self._hire() if managed else None
        self._launch = launch
        self._daemon: Daemon | None = None
        self._control: Client | None = None
        self._idle_sockets = 0

    def write_policy(self, text: str) -> None:
        """What the next start of the daemon reads."""
        (self._policy / "walk.toml").write_text(text)

    def _hire(self) -> Manager:
        manager = Manager(self.folder)
        manager.listen("isod.socket", self.socket, 0o666)
        manager.listen("isod-admin.socket", self.folder / "admin" / "admin.sock", 0o600)
        return manager

    # --- the daemon -----------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether a daemon was begun and neither stopped nor killed by us."""
        return self._daemon is not None

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None, "no daemon runs"
        return self._daemon

    def begin(self) -> Daemon:
        """Start the daemon, and do not wait until it listens."""
        assert self._daemon is None
        arguments = [
            *self.machine.serve_arguments(),
            *("--socket", str(self.socket)),
            *("--policy", str(self._policy)),
            *("--state", str(self.folder / "state")),
        ]
        self._daemon = Daemon(self._launch(arguments, self.manager))
        return self._daemon

    def start(self) -> Daemon:
        """Start the daemon, and look at it while it has nothing to do."""
        self.begin()
        self.greet()
        return self.daemon

    def greet(self) -> None:
        """Wait until a daemon that was begun listens, and look at it."""
        self.daemon.until_it_listens()
        self._control = Client.connect(self.socket, timeout=PATIENCE, reconnect=0)
        self._idle_sockets = self.daemon.fds()["socket"]

    def stop(self, seconds: float = PATIENCE) -> None:
        """Stop the daemon, which has to end well."""
        daemon, self._daemon = self.daemon, None
        self._forget_control()
        daemon.stop(seconds)

    def kill(self) -> None:
        """SIGKILL the daemon."""
        daemon, self._daemon = self.daemon, None
        self._forget_control()
        daemon.kill()
        assert not daemon.tracebacks, "\n".join(daemon.log[-60:])

    def rewrite_row(self, lease: str, former: str, latter: str) -> None:
        """Change a word in a lease's row of the store, while no daemon runs."""
        with closing(sqlite3.connect(self.folder / "state" / "ledger.sqlite")) as database:
            changed = database.execute(
                "UPDATE lease SET body = replace(body, ?, ?) WHERE id = ?", (former, latter, lease)
            )
            assert changed.rowcount == 1
            database.commit()

    # --- looking --------------------------------------------------------------------------------

    @property
    def control(self) -> Client:
        assert self._control is not None, "no daemon runs"
        return self._control

    def line(self) -> Line:
        """A fresh connection to speak raw packets on."""
        return Line(self.socket)

    def lease_count(self) -> int:
        return self.control.info().leases

    def group_state(self, address: str) -> str:
        """The public state of the group that a device is in."""
        for group in self.control.groups():
            if any(member.name == address for member in group.devices):
                return group.state
        raise AssertionError(f"no group of {address}")

    def until_noticed(self) -> None:
        """Wait until the daemon has noticed that every client but the harness is gone.

        A new connection is answered only after those that came before it were taken, and a session
        that is gone has read all that its client said.
        """
        with Client.connect(self.socket, timeout=PATIENCE):
            pass
        self.daemon.until(
            lambda: self.daemon.fds()["socket"] <= self._idle_sockets,
            "a client that is gone was not noticed",
        )

    def until_quiet(self) -> None:
        """Wait until every client is gone, with its leases: from then on none can begin."""
        self.until_noticed()
        self.until_restored()

    def until_restored(self) -> None:
        """Wait until no lease is left; then every driver and override is what it was."""
        self.daemon.until(lambda: self.lease_count() == 0, "a lease stays")
        changes = self.changes()
        assert not changes, "\n".join([str(changes), *self.daemon.log[-20:]])

    def changes(self) -> dict[str, tuple[Binding, Binding]]:
        """Devices that are not as they were: how they were, and how they are."""
        now = picture(self.machine)
        assert now.keys() == self.before.keys()
        return {
            name: (before, now[name]) for name, before in self.before.items() if now[name] != before
        }

    def picture(self) -> Picture:
        return picture(self.machine)

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop what runs and look that nothing stays: no process, no changed driver."""
        try:
            if self._daemon is not None:
                self.until_quiet()
                self.stop()
            assert processes_of(self.folder) == []
            assert not self.changes(), str(self.changes())
        finally:
            self._forget_control()
            if self._daemon is not None:
                self._daemon.kill()
            if self.manager is not None:
                self.manager.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_control(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.close()
