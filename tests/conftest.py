"""What every test has: the lab."""

import sys
from pathlib import Path

from hypothesis import settings

# pytest's importlib mode leaves sys.path alone, and the lab is imported by name.
_ROOT = str(Path(__file__).parents[1])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

pytest_plugins = ["tests.lab.plugin"]

# A machine under load, or an emulated one, is slow now and then; that is no fault of the code.
settings.register_profile("isod", deadline=None)
settings.load_profile("isod")
