"""Builds the lab's own kernel from Debian's source package: all built in, no modules."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from tests.lab.cache import say

CONFIG = Path(__file__).parent / "kernel.config"


class BuildError(Exception):
    """The kernel did not build; the message carries the end of make's output."""


def build_kernel(tarball: Path, work: Path, entry: Path) -> str:
    """Build in *work*, leave image, configuration and uapi headers in *entry*.

    Returns the kernel's release, as `uname -r` says it.
    """
    tree = work / "tree"
    tree.mkdir()
    say(f"unpacking {tarball.name}")
    _run(["tar", "-C", str(tree), "--strip-components=1", "-xf", str(tarball)], work)
    _run(["make", "allnoconfig"], tree)
    _run(["scripts/kconfig/merge_config.sh", "-m", ".config", str(CONFIG)], tree)
    _run(["make", "olddefconfig"], tree)
    for line in missing_options(CONFIG.read_text(), (tree / ".config").read_text()):
        say(f"warning: the kernel's configuration did not take {line}")
    _compile(tree)
    release = (tree / "include/config/kernel.release").read_text().strip()
    _run(["make", "headers_install", f"INSTALL_HDR_PATH={entry / 'headers'}"], tree)
    shutil.copy(tree / "arch/x86/boot/bzImage", entry / "bzImage")
    shutil.copy(tree / ".config", entry / "config")
    return release


def missing_options(wanted: str, got: str) -> list[str]:
    """Lines of our configuration that `olddefconfig` threw away."""
    have = set(got.splitlines())
    lines = [line for line in wanted.splitlines() if line.startswith("CONFIG_")]
    return [line for line in lines if not line.endswith("=n") and line not in have]


def _compile(tree: Path) -> None:
    """The long step, 7 minutes on 2 cores: says how far it is."""
    jobs = os.cpu_count() or 1
    say(f"building the kernel with {jobs} jobs (about 14 minutes of one core)")
    started = time.monotonic()
    spoken = started
    log = tree / "build.log"
    objects = 0
    with subprocess.Popen(
        ["make", f"-j{jobs}", "bzImage"],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        with log.open("w") as record:
            for line in process.stdout:
                record.write(line)
                objects += bool(re.match(r"\s+(CC|AS|AR)\s", line))
                now = time.monotonic()
                if now - spoken >= 30:
                    spoken = now
                    say(f"  {objects} objects built in {now - started:.0f} s")
    if process.returncode != 0:
        raise BuildError("the kernel did not build:\n" + log.read_text()[-4000:])
    say(f"kernel built in {time.monotonic() - started:.0f} s")


def _run(command: list[str], directory: Path) -> None:
    run = subprocess.run(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed:\n{run.stdout[-4000:]}")
