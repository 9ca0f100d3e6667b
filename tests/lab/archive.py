"""A private view of Debian's archive: own sources, lists and cache, the machine's untouched."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.lab.cache import cache_directory, locked, say
from tests.lab.sources import Mirrors, find_mirrors, read_sources, source_line

# 6.1 is bookworm's kernel, 6.12 and QEMU 10 are in its backports, 7.2's source in trixie's.
_ARCHIVE_SUITES = ("bookworm", "bookworm-updates", "bookworm-backports", "trixie-backports")
_SECURITY_SUITES = ("bookworm-security",)


class ArchiveError(Exception):
    """Debian's archive could not be reached, or lacks what the lab needs."""


class Archive:
    """Debian's archive as the lab sees it. Opening it needs the network."""

    def __init__(self) -> None:
        self.directory = cache_directory() / "apt"
        self.configuration = self.directory / "apt.conf"

    def refresh(self) -> None:
        """Write the configuration and fetch the package lists."""
        candidates = find_mirrors(read_sources())
        if not candidates:
            raise ArchiveError(
                "no Debian archive among this machine's apt sources (/etc/apt/sources.list and "
                "sources.list.d): an entry for bookworm or trixie with component main is needed"
            )
        with locked("apt"):
            complaints = [self._try(mirrors) for mirrors in candidates]
        if all(complaints):
            raise ArchiveError("apt-get update failed:\n" + "\n".join(map(str, complaints)))

    def _try(self, mirrors: Mirrors) -> str | None:
        self._write(mirrors)
        say("fetching the package lists of the Debian suites that the lab needs")
        run = subprocess.run(
            ["apt-get", "-q", "--error-on=any", "update"],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return None if run.returncode == 0 else run.stdout[-2000:]

    def _write(self, mirrors: Mirrors) -> None:
        for part in ("lists/partial", "archives/partial"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        lines = [source_line(mirrors.archive, suite) for suite in _ARCHIVE_SUITES]
        if mirrors.security is not None:
            lines += [source_line(mirrors.security, suite) for suite in _SECURITY_SUITES]
        (self.directory / "sources.list").write_text("".join(lines))
        # The sandbox user cannot read a cache in somebody's home, and would only warn about it.
        self.configuration.write_text(
            f'Dir::Etc::SourceList "{self.directory}/sources.list";\n'
            'Dir::Etc::SourceParts "/dev/null";\n'
            f'Dir::State::Lists "{self.directory}/lists";\n'
            f'Dir::Cache "{self.directory}";\n'
            'APT::Architecture "amd64";\n'
            'APT::Sandbox::User "root";\n'
        )

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "APT_CONFIG": str(self.configuration),
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
        }

    def _query(self, *arguments: str) -> str:
        command = ["apt-cache", *arguments]
        # Not while another run replaces the lists.
        with locked("apt"):
            run = subprocess.run(
                command, env=self.environment(), capture_output=True, text=True, check=False
            )
        return run.stdout

    def versions(self, package: str) -> list[str]:
        """Every version of the package in the suites, newest first."""
        rows = [line.split("|") for line in self._query("madison", package).splitlines()]
        return list(dict.fromkeys(row[1].strip() for row in rows if len(row) == 3))

    def depends(self, package: str, version: str) -> str:
        text = self._query("show", f"{package}={version}")
        match = re.search(r"^Depends: (.*)$", text, re.MULTILINE)
        return match[1] if match else ""

    def names(self, prefix: str) -> list[str]:
        return self._query("pkgnames", prefix).split()

    def unpack(self, package: str, version: str, into: Path) -> None:
        """Download one package and unpack it, without installing anything."""
        say(f"downloading {package} {version}")
        into.mkdir(parents=True, exist_ok=True)
        download = into / ".download"
        download.mkdir()
        command = ["apt-get", "-q", "download", f"{package}={version}"]
        with locked("apt"):
            _checked(command, download, self.environment())
        for file in download.glob("*.deb"):
            _checked(["dpkg", "-x", str(file), str(into)], download, self.environment())
        shutil.rmtree(download)


def _checked(command: list[str], directory: Path, environment: dict[str, str]) -> None:
    run = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise ArchiveError(f"{' '.join(command)} failed:\n{run.stdout[-2000:]}")


def main() -> None:
    """For the set-up: refresh the lists and print the configuration's path."""
    archive = Archive()
    archive.refresh()
    print(archive.configuration)


if __name__ == "__main__":
    main()
