"""Finds out whether this machine's QEMU is good enough for the lab, and where to get one."""

import re
import shutil
import subprocess
import sys

PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
# The first with `-object iommufd,fd=` that works and with igb and NVMe virtual functions.
OLDEST = 9


class QemuError(Exception):
    """There is no QEMU that the lab could use."""


def version_of(text: str) -> int | None:
    """The major version in what `--version`, or apt, prints."""
    match = re.search(r"(?:version |^\d+:|^)(\d+)\.\d+", text)
    return int(match[1]) if match else None


def installed_version() -> int | None:
    if shutil.which(PROGRAM) is None:
        return None
    run = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
    return version_of(run.stdout)


def require_qemu() -> None:
    version = installed_version()
    if version is None or version < OLDEST:
        found = "none" if version is None else f"version {version}"
        raise QemuError(
            f"the lab needs QEMU {OLDEST} or newer and found {found}: `make lab-setup` installs it"
        )


def main() -> None:
    """For the set-up: succeeds if QEMU is there."""
    try:
        require_qemu()
    except QemuError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
