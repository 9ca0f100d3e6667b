"""The files of a lease."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from isod.model.address import Address
from isod.model.reply import FileRole
from isod.wire.packet import close_all

CLOSED = -1
RoleName = Literal["hold", "iommufd", "container", "group", "device"]


class LeasedFiles:
    """Owns the fds of a lease and knows them by role. An fd that was closed or taken is -1.

    All are close-on-exec. Closing ``hold``, or the last copy of it, ends the lease.
    """

    def __init__(self, roles: Sequence[FileRole] = (), fds: Sequence[int] = ()) -> None:
        self._roles = tuple(roles)
        self._fds = list(fds)
        if len(self._roles) != len(self._fds):
            raise ValueError(f"{len(self._roles)} roles for {len(self._fds)} fds")

    @property
    def hold(self) -> int:
        """The lease's anchor: pass it on to whatever keeps the lease."""
        return self._number("hold")

    @property
    def iommufd(self) -> int:
        return self._number("iommufd")

    @property
    def container(self) -> int:
        return self._number("container")

    @property
    def groups(self) -> Mapping[int, int]:
        """Group fds by the number of the group."""
        return {
            role.group: fd for role, fd in self if role.role == "group" and role.group is not None
        }

    @property
    def devices(self) -> Mapping[Address, int]:
        """Device fds by address."""
        return {role.address: fd for role, fd in self if role.role == "device" and role.address}

    def device(self, address: Address | str) -> int:
        """The fd of a device. Raises KeyError."""
        return self.devices[_address(address)]

    def __iter__(self) -> Iterator[tuple[FileRole, int]]:
        """Roles and fds, in the order in which isod sent them."""
        return iter(tuple(zip(self._roles, self._fds, strict=True)))

    def __len__(self) -> int:
        return len(self._roles)

    def take(self, role: RoleName, which: Address | str | int | None = None) -> int:
        """Give an fd away: from now on the caller closes it, and here it is -1.

        ``which`` is the address of a device or the number of a group. Raises KeyError for one
        that is not here or has been taken.
        """
        for place, (found, fd) in enumerate(self):
            if fd != CLOSED and _matches(found, role, which):
                self._fds[place] = CLOSED
                return fd
        raise KeyError(role if which is None else f"{role} {which}")

    def take_all(self) -> tuple[tuple[FileRole, int], ...]:
        """Give all away that are still here."""
        given = tuple((role, fd) for role, fd in self if fd != CLOSED)
        self._fds = [CLOSED] * len(self._fds)
        return given

    def detach_hold(self) -> LeasedFiles:
        """Give the hold away, as files that contain nothing else."""
        has = [role for role, fd in self if role.role == "hold" and fd != CLOSED]
        given = [(role, self.take("hold")) for role in has]
        return LeasedFiles([role for role, _ in given], [fd for _, fd in given])

    def with_hold(self, former: LeasedFiles) -> LeasedFiles:
        """These files and, unless they have a hold of their own, that of ``former``.

        Both give their fds away; a hold that is not needed any more is closed.
        """
        if self.hold != CLOSED:
            former.close()
        files = (*former.take_all(), *self.take_all())
        return LeasedFiles([role for role, _ in files], [fd for _, fd in files])

    def close(self) -> None:
        """Close all that are still here, the hold last: a lease that ends has nothing open then.
        Closing twice is harmless."""
        close_all([fd for _, fd in sorted(self.take_all(), key=lambda one: one[0].role == "hold")])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if any(fd != CLOSED for fd in self._fds):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=1)
            self.close()

    def __repr__(self) -> str:
        return f"<LeasedFiles {', '.join(f'{role.role}={fd}' for role, fd in self)}>"

    def _number(self, name: str) -> int:
        return next((fd for role, fd in self if role.role == name), CLOSED)


def _matches(role: FileRole, name: RoleName, which: Address | str | int | None) -> bool:
    if role.role != name:
        return False
    if name == "device":
        return which is not None and role.address == _address(which)
    return role.group == which if name == "group" else which is None


def _address(address: Address | str | int) -> Address:
    return address if isinstance(address, Address) else Address.parse(str(address))
