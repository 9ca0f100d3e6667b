"""``isod serve`` and ``isod survey``: the daemon's own commands. Plain argparse: what is imported
here runs as root. Each command imports its own: the survey runs with a capability that nothing of
the daemon needs, and each start of the daemon waits for it."""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from isod import __version__

RUN = Path("/run/isod")
LASTING = Path("/var/lib/isod")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 stopped or written, 1 could not run, 2 usage,
    3 a survey that may not read past the first 64 bytes."""
    options = _parser().parse_args(arguments)
    try:
        simulate = _simulated_home(options.simulate) if options.simulate else None
    except OSError as error:
        print(f"isod: {error}", file=sys.stderr)
        return 1
    home = simulate or RUN
    if options.command == "survey":
        return _survey(options, simulate, home)
    return _serve(options, simulate, home)


def _simulated_home(place: Path) -> Path:
    from isod.daemon.serve import simulated_home  # noqa: PLC0415 - see above

    return simulated_home(place)


def _survey(options: argparse.Namespace, simulate: Path | None, home: Path) -> int:
    from isod.daemon.surveying import run_survey  # noqa: PLC0415 - see above

    return run_survey(simulate, options.output or home / "survey", as_json=options.json)


def _serve(options: argparse.Namespace, simulate: Path | None, home: Path) -> int:
    import trio  # noqa: PLC0415 - see above

    from isod.daemon.serve import Settings, serve  # noqa: PLC0415
    from isod.daemon.store import StoreError  # noqa: PLC0415
    from isod.policy.folder import FOLDERS  # noqa: PLC0415

    path = options.socket or home / "isod.sock"
    settings = Settings(
        socket=path,
        admin_socket=options.admin_socket or path.parent / "admin" / "admin.sock",
        state=options.state or (simulate / "state" if simulate else RUN),
        policy=(options.policy,) if options.policy else FOLDERS,
        survey=options.survey or home / "survey",
        simulate=simulate,
        lasting=options.quarantine or (None if options.state or simulate else LASTING),
    )
    if options.policy and not options.policy.is_dir():
        print(f"isod: {options.policy}: no such folder", file=sys.stderr)
        return 2
    _allow_open_files()
    try:
        trio.run(serve, settings)
    except (StoreError, OSError) as error:
        print(f"isod: {error}", file=sys.stderr)
        return 1
    return 0


def _allow_open_files() -> None:
    """As many as we may: each connection takes two, each lease one. What we start (fences) has
    none of ours, and does not wait with select(2), for which the low limit is kept elsewhere."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isod", description="Broker of VFIO devices for unprivileged programs."
    )
    parser.add_argument("--version", action="version", version=f"isod {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "serve",
        help="run the daemon in the foreground",
        description="Run the daemon in the foreground until SIGTERM or SIGINT.",
        epilog="example: isod serve --simulate /tmp/host --policy ./policy",
    )
    command.add_argument(
        "--simulate",
        type=Path,
        metavar="DIR|CAPTURE",
        help="serve the simulated host in DIR (made if DIR is empty), or one as it was captured "
        "by isoctl capture (in CAPTURE.host beside it); needs no root",
    )
    command.add_argument(
        "--socket", type=Path, metavar="PATH", help="listen here (default: /run/isod/isod.sock)"
    )
    command.add_argument(
        "--admin-socket",
        type=Path,
        metavar="PATH",
        help="listen for administrators here (default: admin/admin.sock beside the other)",
    )
    command.add_argument(
        "--policy",
        type=Path,
        metavar="DIR",
        help="read policy files from DIR alone (default: /etc/isod/policy.d and its kin)",
    )
    command.add_argument(
        "--state", type=Path, metavar="DIR", help="keep the ledger in DIR (default: /run/isod)"
    )
    command.add_argument(
        "--quarantine",
        type=Path,
        metavar="DIR",
        help="keep what is in quarantine in DIR, which outlives a reboot "
        "(default: that of --state, else /var/lib/isod)",
    )
    command.add_argument(
        "--survey",
        type=Path,
        metavar="DIR",
        help="read what 'isod survey' left in DIR (default: /run/isod/survey)",
    )
    _add_survey(commands)
    return parser


def _add_survey(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "survey",
        help="read config space once, for the analysis of isolation",
        description="Read the config space of every PCI function once, and leave what it says of "
        "isolation (ACS, kinds of ports) in DIR/survey.json, where the daemon reads it. Needs "
        "root with CAP_SYS_ADMIN, which the daemon does without; wakes sleeping devices.",
        epilog="exit codes: 0 written, 1 failed, 2 wrong command line, 3 written, but without "
        "CAP_SYS_ADMIN, so that isolation stays unknown. example: isod survey --json",
    )
    command.add_argument(
        "--simulate", type=Path, metavar="DIR", help="survey the simulated host in DIR"
    )
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="leave it in DIR (default: /run/isod/survey)"
    )
    command.add_argument(
        "--json", action="store_true", help="print it instead of leaving it for the daemon"
    )


if __name__ == "__main__":
    sys.exit(main())
