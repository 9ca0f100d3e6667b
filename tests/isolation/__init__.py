"""Isolation explained, held against the kernel's own groups."""
