#!/bin/bash
# A systemd of its own for the guest: `init.sh UNITS PYTHON REPOSITORY`. Starts in a new pid and mount
# namespace with the project's units and nothing else, and prints the pid of its process 1.
set -eu

units=$1
python=$2
repository=$3

mkdir -p "$units"
cp "$repository"/systemd/*.service "$repository"/systemd/*.socket "$units"
# What units without DefaultDependencies=no order themselves by, with nothing in it: a whole boot
# would take minutes here.
for target in sysinit basic sockets multi-user shutdown umount slices paths timers; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"$units/$target.target"
done
for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket; do
    cp "/usr/lib/systemd/system/$unit" "$units"
done
cat >"$units/isod-lab.target" <<UNIT
[Unit]
Description=The units under test
DefaultDependencies=no
Wants=systemd-journald.socket systemd-journald-dev-log.socket isod.socket isod-admin.socket
UNIT

# The units as they are, but for where this lab has its Python and the checkout: they may lie in
# folders that the units hide. And a start is emulated: on a busy machine it takes more than the usual
# 90 s.
bound="$repository"
for program in "$python" "$(readlink -f "$python")"; do
    bound="$bound $(dirname "$(dirname "$program")")"
done
for unit in isod isod-survey; do
    mkdir -p "$units/$unit.service.d"
    cat >"$units/$unit.service.d/lab.conf" <<UNIT
[Service]
ProtectHome=tmpfs
BindReadOnlyPaths=$bound
Environment=PYTHONDONTWRITEBYTECODE=1
TimeoutStartSec=5min
UNIT
done
cp "$(dirname "$python")/isod" "$(dirname "$python")/isoctl" /usr/bin/

for file in "$repository"/systemd/isod.tmpfiles; do
    systemd-tmpfiles --create "$file"
done
systemd-sysusers "$repository"/systemd/isod.sysusers

mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
exec env -i container=lab SYSTEMD_UNIT_PATH="$units" PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    unshare --fork --kill-child --pid --mount --mount-proc --propagation slave \
    /usr/lib/systemd/systemd --system --unit=isod-lab.target --log-target=null
