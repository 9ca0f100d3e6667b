#!/bin/bash
# Installs the Debian packages that are missing for what is asked: `packages.sh python|lab`.
# Says what and why; quick when there is nothing to do. Uses sudo when it is not root.
set -euo pipefail
. "$(dirname "$0")/apt.sh"

PYTHON=${PYTHON:-python3}
missing=()

# want PACKAGE REASON: installs it unless dpkg has it.
want() {
    local state
    state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null || true)
    [[ $state == ii* ]] || need "$1" "$2"
}

need() {
    printf 'set-up: installing %-18s %s\n' "$1" "($2)"
    missing+=("$1")
}

for_python() {
    local include
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "set-up: $PYTHON is too old: isod needs Python 3.11 or newer" >&2
        exit 1
    }
    # A Python that is not Debian's brings these two itself.
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        need python3-venv 'makes the virtual environment'
    include=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [[ -e $include/Python.h ]] || need python3-dev 'headers to build systemd-python'
    command -v cc >/dev/null || need gcc 'compiles systemd-python'
    # Debian's gcc package does without the C library's headers.
    want libc6-dev 'headers to build systemd-python'
    command -v pkg-config >/dev/null || need pkg-config 'finds libsystemd for systemd-python'
    want libsystemd-dev 'headers to build systemd-python'
    command -v patch >/dev/null || need patch 'breaks copies of the code in tests'
}

for_lab() {
    local package
    for package in flex bison bc libelf-dev libssl-dev rsync xz-utils; do
        want "$package" "builds the lab's kernel"
    done
    want gcc "builds the lab's kernel"
    want kmod "loads modules in guests and indexes those of stock kernels"
    want cpio "packs initial ramdisks of guests"
    want busybox-static "runs in initial ramdisks of guests"
    want file "virtme-ng asks it for the version of a kernel"
    want udev "sets device nodes' rights in guests, as on a real host"
    want systemd "runs units under test in guests"
    want iproute2 "virtme-ng configures guests with it"
    want e2fsprogs "puts a file system on a guest's disk, to be mounted"
    want dmsetup "builds a volume on a guest's disk"
    want acl "shows nodes' rights in tests"
    want strace "shows system calls in tests"
}

case ${1:-} in
    python) for_python ;;
    lab) for_lab ;;
    *)
        echo "usage: packages.sh python|lab" >&2
        exit 2
        ;;
esac

if ((${#missing[@]})); then
    apt_get update
    apt_get install --no-install-recommends "${missing[@]}"
fi
