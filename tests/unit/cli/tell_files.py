"""A program for ``isoctl exec``: prints its arguments, its files and the variables that speak of
isod, then waits for its stdin to end."""

import json
import os
import sys
from pathlib import Path

files = {}
for entry in sorted(Path("/proc/self/fd").iterdir()):
    try:
        files[entry.name] = str(entry.readlink())
    except OSError:
        continue  # the directory that was listed
isod = {name: value for name, value in os.environ.items() if name.startswith("ISOD")}
print(json.dumps({"arguments": sys.argv[1:], "files": files, "isod": isod}), flush=True)
sys.stdin.read()
