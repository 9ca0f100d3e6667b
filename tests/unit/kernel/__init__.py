"""The parts of the ioctl layer that need no real device."""
