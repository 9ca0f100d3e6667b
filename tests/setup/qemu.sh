#!/bin/bash
# Installs a QEMU that is new enough for the lab: Debian 13's own, Debian 12's from its backports.
set -euo pipefail
. "$(dirname "$0")/apt.sh"
cd "$(dirname "$0")/../.."

python=.venv/bin/python
why=$($python -m tests.lab.qemu 2>&1) && exit 0
echo "set-up: $why"
oldest=$($python -c 'from tests.lab.qemu import OLDEST; print(OLDEST)')
package=$($python -c 'from tests.lab.qemu import PACKAGE; print(PACKAGE)')

apt_get update
candidate=$(LC_ALL=C apt-cache policy "$package" | sed -n 's/^ *Candidate: *\([0-9]*:\)\?\([0-9]*\)\..*/\2/p')
if ((${candidate:-0} >= oldest)); then
    echo "set-up: installing $package $candidate (boots the lab's guests)"
    apt_get install --no-install-recommends "$package"
else
    echo "set-up: installing $package from bookworm-backports (boots the lab's guests)"
    APT_CONFIG=$($python -m tests.lab.archive) apt_get install --no-install-recommends \
        -t bookworm-backports "$package"
fi
$python -m tests.lab.qemu
