"""The lab's kernels: two stock ones of Debian and one built with everything isod can use.

`python -m tests.lab.kernels` makes what is missing; `--refresh` looks for newer packages. What
is in the cache is used without asking the network.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.archive import Archive, ArchiveError
from tests.lab.build import CONFIG, build_kernel
from tests.lab.cache import cache_directory, locked, make_entry, say, short_hash, sweep_unfinished

KERNELS = ("6.1", "6.12", "7.2")
BUILT = "7.2"

# Raise it when the recipe below changes, so that old entries are not taken for new ones.
_RECIPE = "1"


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted."""

    name: str
    release: str
    image: Path
    headers: Path | None


def cached_kernel(name: str) -> Kernel | None:
    """The newest entry made by today's recipe, without touching network or locks."""
    entries = list(_directory().glob(f"{name}-{_recipe_hash(name)}-*/entry.json"))
    if not entries:
        return None
    newest = max(entries, key=lambda path: path.stat().st_mtime)
    facts = json.loads(newest.read_text())
    entry = newest.parent
    headers = entry / "headers/include"
    image = entry / facts["image"]
    return Kernel(name, facts["release"], image, headers if headers.is_dir() else None)


def ensure_kernel(name: str, refresh: bool = False) -> Kernel:
    """The kernel from the cache, or downloaded and built now."""
    if name not in KERNELS:
        raise ValueError(f"no kernel {name!r} in the lab, only {', '.join(KERNELS)}")
    kernel = None if refresh else cached_kernel(name)
    if kernel is not None:
        return kernel
    with locked(f"kernel-{name}"):
        # Another run may have made it while this one waited for the lock.
        kernel = None if refresh else cached_kernel(name)
        if kernel is None:
            sweep_unfinished(_directory(), name)
            _make(name)
            kernel = cached_kernel(name)
    assert kernel is not None
    say(f"kernel {name} is {kernel.release}")
    return kernel


def stock_release(depends: str) -> str | None:
    """linux-image-amd64 is a name only; the release is in what it depends on."""
    match = re.search(r"linux-image-(\S+)", depends)
    return match[1] if match else None


def choose_source(names: list[str]) -> str:
    """7.2's source package, or the newest there is: backports drop old ones one day."""
    preferred = f"linux-source-{BUILT}"
    if preferred in names:
        return preferred
    numbered = {name: re.fullmatch(r"linux-source-(\d+)\.(\d+)", name) for name in names}
    newest = max(
        ((int(match[1]), int(match[2]), name) for name, match in numbered.items() if match),
        default=None,
    )
    if newest is None or newest[:2] < (7, 0):
        raise ArchiveError(f"the archive has neither {preferred} nor a newer kernel source")
    say(f"WARNING: {preferred} is gone from the archive; building {newest[2]} in its place")
    return newest[2]


def _directory() -> Path:
    return cache_directory() / "kernels"


def _recipe_hash(name: str) -> str:
    return short_hash(_RECIPE, name, CONFIG.read_text() if name == BUILT else "stock")


def _make(name: str) -> None:
    archive = Archive()
    archive.refresh()
    if name == BUILT:
        package = choose_source([n for n in archive.names("linux-source-") if archive.versions(n)])
        version = archive.versions(package)[0]
        make = _built(archive, package, version)
    else:
        metapackage = "linux-image-amd64"
        versions = [v for v in archive.versions(metapackage) if v.startswith(f"{name}.")]
        release = stock_release(archive.depends(metapackage, versions[0])) if versions else None
        if release is None:
            raise ArchiveError(f"the archive has no {metapackage} {name}")
        package = f"linux-image-{release}"
        version = archive.versions(package)[0]
        make = _stock(archive, package, version, release)
    entry = _directory() / f"{name}-{_recipe_hash(name)}-{short_hash(package, version)}"
    make_entry(entry, make)


def _stock(archive: Archive, package: str, version: str, release: str) -> Callable[[Path], None]:
    def make(entry: Path) -> None:
        archive.unpack(package, version, entry)
        # Debian's package leaves this to its installation scripts.
        subprocess.run(["depmod", "-b", str(entry), release], check=True)
        _describe(entry, f"boot/vmlinuz-{release}", release, package, version)

    return make


def _built(archive: Archive, package: str, version: str) -> Callable[[Path], None]:
    def make(entry: Path) -> None:
        # The object tree takes 3 GB: it goes as soon as the image is out of it.
        prefix = f"{entry.name}.tree."
        with tempfile.TemporaryDirectory(prefix=prefix, dir=entry.parent) as scratch:
            work = Path(scratch)
            archive.unpack(package, version, work)
            tarball = next((work / "usr/src").glob("linux-source-*.tar.xz"))
            release = build_kernel(tarball, work, entry)
            _describe(entry, "bzImage", release, package, version)

    return make


def _describe(entry: Path, image: str, release: str, package: str, version: str) -> None:
    facts = {"image": image, "release": release, "package": package, "version": version}
    (entry / "entry.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    arguments = sys.argv[1:]
    refresh = "--refresh" in arguments
    for name in [argument for argument in arguments if argument in KERNELS] or KERNELS:
        kernel = ensure_kernel(name, refresh)
        print(f"{name}: {kernel.release} {kernel.image}")


if __name__ == "__main__":
    main()
