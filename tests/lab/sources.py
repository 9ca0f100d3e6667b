"""Reads the machine's own apt sources, to learn which Debian mirror it uses.

The lab needs suites that the machine may not have enabled. They come from the mirror that the
machine already trusts, so no host name is written down here.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_ARCHIVE_SUITE = re.compile(r"(bookworm|trixie|stable|oldstable)(-updates|-backports)?/?")
_SECURITY_SUITE = re.compile(r"(bookworm|trixie|stable|oldstable)-security/?")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Source:
    """One binary source: a mirror, its suites and components, and who signs it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None = None


@dataclass(frozen=True)
class Mirrors:
    """The Debian archive and, where the machine has one, the security archive."""

    archive: Source
    security: Source | None


def read_sources(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    found: list[Source] = []
    parts = sorted((etc_apt / "sources.list.d").glob("*"))
    for path in [etc_apt / "sources.list", *parts]:
        if not path.is_file():
            continue
        if path.suffix == ".sources":
            found += parse_stanzas(path.read_text())
        elif path.suffix == ".list":
            found += parse_lines(path.read_text())
    return found


def parse_lines(text: str) -> list[Source]:
    """The one-line format: `deb [option=value] URI SUITE COMPONENT…`."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?([^#]+)", line)
        if match is None:
            continue
        options = dict(part.split("=", 1) for part in (match[1] or "").split() if "=" in part)
        uri, suite, *components = match[2].split()
        found.append(Source(uri, (suite,), tuple(components), options.get("signed-by")))
    return found


def parse_stanzas(text: str) -> list[Source]:
    """The deb822 format: stanzas of fields, where an embedded key continues over lines."""
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0].isspace():
                fields[name] += "\n" + line.strip()
                continue
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        signed_by = fields.get("signed-by", "")
        # A key written into the file itself cannot be named in the one-line format.
        named = signed_by if signed_by.startswith("/") else None
        suites = tuple(fields.get("suites", "").split())
        components = tuple(fields.get("components", "").split())
        found += [Source(uri, suites, components, named) for uri in fields["uris"].split()]
    return found


def find_mirrors(sources: list[Source]) -> list[Mirrors]:
    """Which sources can be Debian's archive, likeliest first.

    Other vendors name their suites after Debian's too. Debian's keyring in the entry speaks for
    it; in the end apt's signature check decides, so that the caller tries one after the other.
    """
    debian = [
        source
        for source in sources
        if "main" in source.components and not source.uri.startswith("cdrom:")
    ]
    debian.sort(key=lambda source: "debian-archive" not in (source.signed_by or _KEYRING))
    security = next((source for source in debian if _has(source, _SECURITY_SUITE)), None)
    return [Mirrors(source, security) for source in debian if _has(source, _ARCHIVE_SUITE)]


def source_line(source: Source, suite: str) -> str:
    return f"deb [signed-by={source.signed_by or _KEYRING}] {source.uri} {suite} main\n"


def _has(source: Source, pattern: re.Pattern[str]) -> bool:
    return any(pattern.fullmatch(suite) for suite in source.suites)
