"""Whether hardware virtualisation really works here: a boot tells, the device node does not."""

import os
import sys
from pathlib import Path

from tests.lab.boot import Guest, GuestError, Machine
from tests.lab.cache import cache_directory, locked, say, short_hash
from tests.lab.kernels import Kernel
from tests.lab.topology import TOPOLOGIES

# Far more than a boot with hardware help takes, far less than one without would be missed.
_PROBE_SECONDS = 20.0


def kvm_works(kernel: Kernel) -> bool:
    """Probe once per boot of this machine with a real guest, and remember."""
    if os.environ.get("ISOD_LAB_KVM") == "0" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    answer = cache_directory() / "kvm" / short_hash(boot, str(os.geteuid()))
    with locked("kvm"):
        if not answer.exists():
            works = _probe(kernel)
            say(f"hardware virtualisation {'works' if works else 'does not work'} here")
            answer.parent.mkdir(exist_ok=True)
            answer.write_text("yes" if works else "no")
        return answer.read_text() == "yes"


def _probe(kernel: Kernel) -> bool:
    machine = Machine(kernel, TOPOLOGIES["standard"], use_kvm=True)
    guest = Guest(machine)
    command = [sys.executable, "-m", "tests.lab.agent", "--probe"]
    try:
        events = guest.events(command, lambda: _PROBE_SECONDS)
        return any(event["event"] == "finished" for event in events)
    except GuestError:
        return False
    finally:
        guest.discard()
