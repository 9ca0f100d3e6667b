"""`python -m tests.lab.shell [KERNEL [TOPOLOGY]]` boots a guest with a terminal."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.accelerator import kvm_works
from tests.lab.boot import Machine, virtme_command, virtme_environment
from tests.lab.kernels import BUILT, ensure_kernel
from tests.lab.qemu import require_qemu
from tests.lab.topology import TOPOLOGIES

_START = Path(__file__).parent / "start.sh"


def main() -> None:
    name, topology = [*sys.argv[1:], *(BUILT, "standard")[len(sys.argv) - 1 :]]
    if topology not in TOPOLOGIES:
        rows = [f"  {entry.name}: {entry.reason}" for entry in TOPOLOGIES.values()]
        sys.exit(f"no topology {topology}; there are\n" + "\n".join(rows))
    require_qemu()
    kernel = ensure_kernel(name)
    machine = Machine(kernel, TOPOLOGIES[topology], use_kvm=kvm_works(kernel))
    command = [*virtme_command(machine), "--shell", str(_START)]
    print(f"booting {kernel.release} on {topology}: {TOPOLOGIES[topology].reason}", flush=True)
    with tempfile.TemporaryDirectory(prefix="isod-lab-") as temporary:
        sys.exit(
            subprocess.run(command, env=virtme_environment(Path(temporary)), check=False).returncode
        )


if __name__ == "__main__":
    main()
