"""What a privileged broker of file descriptors is attacked with: a row each, and isod's defence.

For each row there is a test here called ``test_ROW`` (or ``test_ROW_…``, where there are several),
and ``tests/mutations/threat-ROW.patch`` takes the defence out and turns such a test red.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ROWS: Mapping[str, str] = MappingProxyType(
    {
        "client_sends_fds_to_the_daemon": "SO_PASSRIGHTS=0 on the listener where the kernel has "
        "it; receiving without a control buffer everywhere",
        "replies_with_fds_that_nobody_reads": "unread fds are bounded per connection and user; "
        "who does not read is disconnected, and counts until it has read or gone",
        "truncated_control_data": "MSG_CTRUNC is an error of the connection; what came is closed",
        "messages_coalesce_and_fds_are_duplicated": "SOCK_SEQPACKET: a packet is whole and carries "
        "its own fds; MSG_TRUNC and empty packets are errors",
        "unbound_cdev_is_kept_past_its_lease": "the fence: an unbind that has returned, before the "
        "group is free",
        "sysfs_write_hangs": "helper processes without fds, abandoned when stuck; "
        "KillMode=process, a short stop timeout",
        "passed_on_connection_acts_as_its_opener": "the hold has no authority; acting on a lease "
        "needs its secret; commands that are executed get no socket",
        "names_that_users_choose": "the first system unit of the path; user units apart; nothing "
        "of a peer that cannot be named safely",
        "pid_is_reused": "SO_PEERPIDFD; what was read of a pid counts only if its process is alive "
        "after the reading",
        "identity_is_not_found": "what cannot be looked up allows nothing, and what denies by it "
        "denies",
        "path_that_skips_the_policy": "one gate that every method goes through",
        "more_fds_than_declared": "close-on-exec everywhere; files are declared in order",
        "stale_lease_on_a_recycled_address": "devices carry a generation, and leases name it",
        "restart_state_is_trusted": "every stored row and fd is checked; what is not understood is "
        "quarantined",
        "sysfs_races_and_symlinks": "clients name addresses; directory fds and O_NOFOLLOW; the "
        "inode is compared, and what was written is read back",
        "log_injection": "values are fields, control characters are escaped",
        "json_abuse": "a strict parser in front of strict models",
        "slow_subscriber": "a bounded queue, and a last gap",
        "silent_connections": "limits per user and in all, and a deadline for the first request",
        "abstract_socket": "a path with a mode",
        "client_is_killed_at_any_moment": "the lease drains, devices are reset and come back",
        "daemon_is_killed_at_any_moment": "intents are written first; reconciled at the start",
        "device_that_the_host_needs": "the guard, whatever the rule",
        "helper_inherits_privilege": "no shell, fixed arguments, an empty environment, no fds",
    }
)
