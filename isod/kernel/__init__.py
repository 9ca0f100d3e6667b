"""The ioctl layer: one port (``port``), two inhabitants (``linux`` and ``simulated``)."""
