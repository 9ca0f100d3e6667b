"""What is fuzzed. A target takes any bytes, and raises what nothing but a fault of ours raises.

Each is made with a folder on tmpfs for what has to be a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import host, packets, planted, written
from .target import Target

PLANTED: Mapping[str, Target] = MappingProxyType(planted.TARGETS)
TARGETS: Mapping[str, Target] = MappingProxyType(packets.TARGETS | written.TARGETS | host.TARGETS)
