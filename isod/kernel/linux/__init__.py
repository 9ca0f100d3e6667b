"""The real kernel: sysfs, ioctls, uevents."""
