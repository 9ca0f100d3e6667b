"""Numbers and layouts of the kernel's user interface, checked against its own headers in
``tests/unit/kernel/test_uapi.py``."""
