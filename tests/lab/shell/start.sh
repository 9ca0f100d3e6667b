#!/bin/bash
# The login shell of `make lab`: starts isod on the guest's virtual hardware, then is a shell.
set -u

lab=$(dirname "$(readlink -f "$0")")
repository=$(readlink -f "$lab/../../..")
venv=$repository/.venv/bin
if [ ! -d /run/isod-lab/root ]; then
    exec "$lab/../enter.sh" "$repository" "$venv/python" "$0"
fi
export PATH=$venv:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/run/isod-lab-home PYTHONDONTWRITEBYTECODE=1 ISOD_SOCKET=/run/isod/isod.sock
mkdir -p "$HOME" /run/isod

# Stock kernels have these as modules; where they are built in there is nothing to do.
modprobe -q -a vfio-pci vfio_iommu_type1 nvme e1000 e1000e igb

isod serve --socket "$ISOD_SOCKET" --policy "$lab/policy" --state /run/isod \
    >/run/isod/isod.log 2>&1 &
daemon=$!
# The socket is the sign that isod is up; without one it has failed and its log says why.
while [ ! -S "$ISOD_SOCKET" ] && kill -0 $daemon 2>/dev/null; do
    sleep 0.1
done

echo
echo "isod on $(uname -r). Its log: /run/isod/isod.log, its policy: $lab/policy"
if [ -S "$ISOD_SOCKET" ]; then
    echo 'Try: isoctl ls'
else
    echo 'isod did not start:'
    tail -n 20 /run/isod/isod.log
fi
echo 'Leave with: exit (or Ctrl-A X)'
exec bash --norc -i
