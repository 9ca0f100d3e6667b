"""The machine's apt sources, in both formats, with others' entries among Debian's."""

from pathlib import Path

from tests.lab.sources import (
    Source,
    find_mirrors,
    parse_lines,
    parse_stanzas,
    read_sources,
    source_line,
)

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

_STANZAS = f"""\
# a comment
Types: deb deb-src
URIs: http://mirror.test/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: {_KEYRING}

Types: deb
Enabled: no
URIs: http://other.test/debian
Suites: trixie
Components: main

Types: deb
URIs: http://vendor.test/linux
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc=
 -----END PGP PUBLIC KEY BLOCK-----
"""

_LINES = f"""\
# deb http://commented.test/debian bookworm main
deb [arch=amd64 signed-by={_KEYRING}] http://mirror.test/debian bookworm main # why
deb-src http://mirror.test/debian bookworm main
deb http://mirror.test/security bookworm-security main
deb http://vendor.test/tool bookworm stable
deb cdrom:[disc]/ bookworm main
"""


def test_reads_stanzas() -> None:
    assert parse_stanzas(_STANZAS) == [
        Source(
            "http://mirror.test/debian",
            ("trixie", "trixie-updates"),
            ("main", "contrib"),
            _KEYRING,
        ),
        Source("http://vendor.test/linux", ("bookworm",), ("main",), None),
    ]


def test_reads_lines() -> None:
    found = parse_lines(_LINES)
    assert found[0] == Source("http://mirror.test/debian", ("bookworm",), ("main",), _KEYRING)
    assert [source.uri for source in found][1:3] == [
        "http://mirror.test/security",
        "http://vendor.test/tool",
    ]


def test_reads_both_formats_of_a_machine(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(_LINES)
    (tmp_path / "sources.list.d/debian.sources").write_text(_STANZAS)
    (tmp_path / "sources.list.d/debian.sources.save").write_text(_STANZAS)
    assert len(read_sources(tmp_path)) == len(parse_lines(_LINES)) + 2


def test_debian_goes_before_others_and_needs_main() -> None:
    vendor = Source("http://vendor.test/linux", ("bookworm",), ("main",), "/etc/vendor.gpg")
    debian = Source("http://mirror.test/debian", ("bookworm",), ("main",), _KEYRING)
    tool = Source("http://tool.test/debian", ("bookworm",), ("stable",), None)
    security = Source("http://mirror.test/security", ("bookworm-security",), ("main",), None)
    found = find_mirrors([vendor, tool, security, debian])
    assert [mirrors.archive for mirrors in found] == [debian, vendor]
    assert all(mirrors.security == security for mirrors in found)


def test_no_debian_at_all() -> None:
    assert find_mirrors([Source("http://x.test/ubuntu", ("noble",), ("main",), None)]) == []


def test_line_is_always_checked_against_a_key() -> None:
    source = Source("http://mirror.test/debian", ("trixie",), ("main",), None)
    assert source_line(source, "trixie-backports") == (
        f"deb [signed-by={_KEYRING}] http://mirror.test/debian trixie-backports main\n"
    )
