"""The daemon is killed at each of its system calls in turn that changes anything outside it."""
