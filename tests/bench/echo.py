"""The floor: a process that answers every packet with one of a given size, and does nothing else.

Run as ``python echo.py BYTES`` with a SOCK_SEQPACKET socket as stdin.
"""

from __future__ import annotations

import socket
import sys


def main() -> None:
    reply = b"x" * int(sys.argv[1])
    with socket.socket(fileno=0) as line:
        while line.recv(65536):
            line.send(reply)


if __name__ == "__main__":
    main()
