"""Rights on the nodes of groups, for programs that open by path: all or none."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from isod.kernel.refusal import group_gone, refused_by_kernel
from isod.model.reason import Reason, RefusedError
from isod.model.step import GrantNodes, GroupName, RevokeNodes, StepResult

from .acl import Entry, read_acl, users, with_user, without_user, write_acl
from .group import check_group
from .node import CONTAINER, group_node, open_node
from .udev import wait_for_udev


def grant_nodes(root: Path, step: GrantNodes) -> StepResult:
    """Give a uid reading and writing on the groups' nodes. Raises RefusedError; what was given
    before the failure is taken back then."""
    for group in step.groups:
        check_group(root, group)
    nodes = [group_node(root, group.number) for group in step.groups]
    warnings = []
    if not wait_for_udev(root, nodes):
        warnings.append("udev had not finished with the nodes: it may take the rights away")
    if not _anybody_may_open(root / "dev" / CONTAINER):
        warnings.append(f"/dev/{CONTAINER} is not open to everybody, as the kernel makes it")
    former: list[tuple[GroupName, str, list[Entry]]] = []
    try:
        for group, node in zip(step.groups, nodes, strict=True):
            former.append((group, node, _change(root, group, node, step.uid, with_user)))
    except RefusedError:
        for group, node, entries in reversed(former):
            with contextlib.suppress(RefusedError):
                _put_back(root, group, node, entries)
        raise
    return StepResult(warnings=tuple(warnings))


def revoke_nodes(root: Path, step: RevokeNodes) -> StepResult:
    """Take the rights back from every node that is still there. Raises RefusedError for the first
    that failed, after having tried them all."""
    failed: RefusedError | None = None
    for group in step.groups:
        try:
            check_group(root, group)
            _change(root, group, group_node(root, group.number), step.uid, without_user)
        except RefusedError as error:
            if error.refusal.reason is not Reason.gone:
                failed = failed or error
    if failed is not None:
        raise failed
    return StepResult()


def node_users(root: Path, node: str) -> dict[int, int]:
    """The permission bits of each uid that a node's ACL names. Raises OSError."""
    with _pinned(root, node) as path:
        return users(read_acl(path))


def _change(
    root: Path,
    group: GroupName,
    node: str,
    uid: int,
    change: Callable[[list[Entry], int], list[Entry]],
) -> list[Entry]:
    """Change a node's ACL and read it back; what it was before."""
    try:
        with _pinned(root, node) as path:
            former = read_acl(path)
            wanted = change(former, uid)
            if wanted != former:
                write_acl(path, wanted)
                if sorted(read_acl(path)) != sorted(wanted):
                    raise refused_by_kernel(f"the rights on /dev/{node} did not change", 5)
            return former
    except FileNotFoundError as error:
        raise group_gone(group) from error
    except OSError as error:
        raise refused_by_kernel(f"cannot set rights on /dev/{node}", error.errno or 5) from error


def _put_back(root: Path, group: GroupName, node: str, entries: list[Entry]) -> None:
    _change(root, group, node, 0, lambda _now, _uid: entries)


@contextlib.contextmanager
def _pinned(root: Path, node: str) -> Iterator[str]:
    """A path to the very node that sysfs names, whatever happens to its name meanwhile. Opened
    with O_PATH, which does not open the device."""
    descriptor = open_node(root, node, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _anybody_may_open(path: Path) -> bool:
    try:
        return stat.S_IMODE(path.stat().st_mode) & 0o006 == 0o006
    except OSError:
        return False
